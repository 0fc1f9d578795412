"""x64 and x86 bytes in terms of form/."""
