"""Which x64 and x86 functions may call or jump out of their image, asked of all at once.

Knows displacements; knows nothing of what such a branch means.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from hvci.binary.form.code import Flow, Function, any_of
from hvci.binary.pe.image import PeImage

_DIRECT_CALL = any_of(Flow.CALL)
_CALL = 0xE8


def leaving(image: PeImage, functions: list[Function]) -> list[Function]:
    """Those of some decoded functions with a direct branch that may lead out of the image."""
    size = image.size
    found = [each for each in functions if max(each.targets.values(), default=0) >= size]
    calls = [[each.rvas[i] for i in each.where(_DIRECT_CALL)] for each in functions]
    sites = np.array(list(chain.from_iterable(calls)), np.int64)
    raw = np.ndarray((size - 3,), "<i4", image.memory, 0, (1,))
    targets = raw[sites + 1] + sites + 5
    inside = (image.bytes[sites] == _CALL) & (targets >= 0) & (targets < size)
    outside = set(sites[~inside].tolist())
    if outside:
        groups = zip(functions, calls, strict=True)
        found += [each for each, mine in groups if not outside.isdisjoint(mine)]
    return found
