"""Cheap tests on ARM64 words: which places are worth a question of the data flow."""
