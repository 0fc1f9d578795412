"""Unwind entries that overlap, as in damaged files, leave each instruction in its place."""

from build import driver
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.form.exceptions import Fragment
from hvci.binary.pe.image import PeImage

LENGTH = 24


def test_instructions_stay_in_order_and_can_be_found():
    image = PeImage(driver("x64", code=b"\x90" * LENGTH + b"\xc3"))
    functions, entry = Analysis(image).functions, int(image.headers.entry)
    overlapping = [Fragment(entry, entry + 16, 0), Fragment(entry + 8, entry + LENGTH, 0)]
    functions.unwind.find = lambda rva: overlapping
    function = functions.at(entry)
    assert function.rvas == list(range(entry, entry + LENGTH))
    assert all(function.find(rva) == i for i, rva in enumerate(function.rvas))
