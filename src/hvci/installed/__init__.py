"""A Windows installation as a folder or disk holds it: its drivers, and what became of each."""
