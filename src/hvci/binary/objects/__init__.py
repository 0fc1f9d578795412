"""Libraries of objects: what their machine code asks for, read as an image's is. Judges nothing."""

from hvci.binary.objects.archive import has_code, members
from hvci.binary.objects.library import Examined, examine

__all__ = ["Examined", "examine", "has_code", "members"]
