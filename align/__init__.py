"""Align: what changes weights. Imports evaluation and presets; never the playground."""
