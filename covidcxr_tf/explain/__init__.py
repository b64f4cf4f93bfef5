"""Heat maps and super-pixels: which parts of a film spoke for and against a class. For research, not for diagnosis."""
