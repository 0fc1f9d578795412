"""The kinds of things that driver code does and no DDI argument shows."""

from __future__ import annotations

from enum import StrEnum


class Behaviour(StrEnum):
    """What kind of thing the code does."""

    STORE = "store"
    """Writes to the image's own executable sections."""
    WRITE_PROTECTION = "write-protection"
    """Turns off the processor's write protection."""
    ALIAS = "alias"
    """Makes a second, writable mapping of code."""
    HOOK = "hook"
    """Writes to the code of another module."""
    PROCESSOR_STATE = "processor-state"
    """Changes descriptor tables, system call entries or debug registers."""
    USER_EXECUTION = "user-execution"
    """Lets the kernel execute user pages."""
    GENERATED_CODE = "generated-code"
    """Runs instructions in memory that is no image."""
    NOT_EXECUTABLE = "not-executable"
    """Runs code of the image where the image says that nothing executes."""
    COPIED_CODE = "copied-code"
    """Copies its own instructions to memory that is no image."""
    EXECUTABLE_FILE = "executable-file"
    """Has a file mapped or loaded as code."""
    IMAGE_BY_HAND = "image-by-hand"
    """Loads an executable file without the system's loader."""
    DRIVER_LOAD = "driver-load"
    """Has the system load another driver."""
    UNEXPORTED = "unexported"
    """Calls an address that it computed from a routine of the kernel."""
