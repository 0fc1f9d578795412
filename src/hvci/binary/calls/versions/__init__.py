"""Calls that only run, or only ask for executable memory, on Windows without memory integrity."""
