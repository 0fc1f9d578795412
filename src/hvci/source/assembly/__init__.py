"""MASM text: the routines that it calls, with what, and what it does with memory."""
