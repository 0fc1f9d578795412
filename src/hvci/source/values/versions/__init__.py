"""Checks of the Windows version at run time: what they say on the kernels that are aimed at."""
