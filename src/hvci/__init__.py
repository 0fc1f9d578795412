"""Will this kernel driver work with memory integrity (HVCI) on, and if not, what is at fault?"""

__version__ = "0.1.0"
