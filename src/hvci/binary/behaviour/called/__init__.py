"""Calls through pointers that may go to memory: which ones are worth the data flow."""
