"""What an expression can be worth, on the Windows versions that are aimed at."""
