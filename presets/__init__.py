"""Presets: choices that a person writes, and the frozen types that describe them.

The floor of the house: imports nothing of ours but itself. `python -c "import presets"` does no work.
"""
