"""The parts of one image's analysis, wired together once, with the book of references."""
