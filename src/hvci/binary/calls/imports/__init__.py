"""Calls of imports: the references to their slots, what becomes of each, and what is left open."""
