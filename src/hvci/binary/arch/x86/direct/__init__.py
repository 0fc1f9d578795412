"""Direct calls of x64 and x86 code that are not plain: by register, of outlined code, outwards."""
