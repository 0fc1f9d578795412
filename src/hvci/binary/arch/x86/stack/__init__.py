"""Where the stack pointer of x64 and x86 code is, and what calls push and remove."""
