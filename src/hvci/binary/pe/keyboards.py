"""Tells keyboard layouts: images of the native subsystem that the kernel reads and never runs.

Windows copies the tables of `kbdus.dll` and its like out of their executable `.data`; what looks
like code there is scan codes. Knows headers, imports and exports only.
"""

from __future__ import annotations

from hvci.binary.pe.image import PeImage

_DLL = 0x2000
_LAYOUT, _LANGUAGE = "KbdLayerDescriptor", "KbdNlsLayerDescriptor"


def is_keyboard_layout(image: PeImage) -> bool:
    """Whether nothing of an image could run but the functions that give its tables out.

    It has no entry point, calls nobody, and exports nothing else.
    """
    if image.headers.entry or image.imports or not image.headers.characteristics & _DLL:
        return False
    return {_LAYOUT} <= {*image.exports.values()} <= {_LAYOUT, _LANGUAGE}
