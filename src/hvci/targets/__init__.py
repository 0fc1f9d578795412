"""What a path can be: a driver image, a saved report, standard input. Judges nothing."""

from hvci.targets.files import MAX_BYTES, STDIN, Found, Kind, Missing, find, read_bytes

__all__ = ["MAX_BYTES", "STDIN", "Found", "Kind", "Missing", "find", "read_bytes"]
