"""What networks are trained for; the file's name is the key in a config's `objectives`."""
