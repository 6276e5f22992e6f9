"""Evaluation: what models and judges say, and what it adds up to. Imports presets, and nothing above it."""
