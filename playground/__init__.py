"""The playground: what a visitor clicks. Imports evaluation and presets; gradio lives in `compare`, `picker` and `page`."""
