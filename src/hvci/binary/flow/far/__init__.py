"""What code writes far behind the start of the data, or of the local structure, that it has."""
