"""One product as a program: its names, their uses, its calls."""
