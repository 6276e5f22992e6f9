"""The embedded model: recombine tinyworld's words into text, pre-train the base on it, align it with CoSAlign."""
