"""Calls of the kernel-mode driver framework, which go through its function table."""
