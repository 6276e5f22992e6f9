"""What runs the playground elsewhere: the Space folder, the container files, the audit of its packages."""
