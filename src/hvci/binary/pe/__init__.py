"""The file as the loader maps it; no machine code."""
