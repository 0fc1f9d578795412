"""Checks of the Windows version at run time: what they say where memory integrity is."""
