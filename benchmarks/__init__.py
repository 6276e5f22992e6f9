"""What is fast and what it costs, as ratios within one run: these machines are too noisy for absolute times."""
