"""What AVX and AVX2 have and SSE has not: moves across lanes, and what the engine computes wrongly.

Pure functions over integers: a vector is an int, its element 0 the lowest. Each takes the first
source, the second source, the immediate and the width in bits; the manual is their source.
"""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import Mnemonic

Model = Callable[[int, int, int, int], int]


def split(value: int, size: int, width: int) -> list[int]:
    """The elements of a vector."""
    mask = (1 << size) - 1
    return [value >> at & mask for at in range(0, width, size)]


def join(parts: list[int], size: int) -> int:
    """A vector of elements."""
    return sum(part << size * index for index, part in enumerate(parts))


def _broadcast(size: int) -> Model:
    def model(_: int, source: int, immediate: int, width: int) -> int:
        return join([source & (1 << size) - 1] * (width // size), size)

    return model


def _insert(first: int, second: int, immediate: int, width: int) -> int:
    lanes = split(first, 128, 256)
    lanes[immediate & 1] = second & (1 << 128) - 1
    return join(lanes, 128)


def _extract(_: int, source: int, immediate: int, width: int) -> int:
    return split(source, 128, 256)[immediate & 1]


def _two_lanes(first: int, second: int, immediate: int, width: int) -> int:
    lanes = split(first, 128, 256) + split(second, 128, 256)
    chosen = [0 if pick & 8 else lanes[pick & 3] for pick in (immediate & 15, immediate >> 4)]
    return join(chosen, 128)


def _permute_quads(_: int, source: int, immediate: int, width: int) -> int:
    parts = split(source, 64, 256)
    return join([parts[immediate >> 2 * index & 3] for index in range(4)], 64)


def _permute_by_first(first: int, second: int, immediate: int, width: int) -> int:
    parts = split(second, 32, 256)
    return join([parts[pick & 7] for pick in split(first, 32, 256)], 32)


def _blend(size: int) -> Model:
    def model(first: int, second: int, immediate: int, width: int) -> int:
        pairs = zip(split(first, size, width), split(second, size, width), strict=True)
        return join([pair[immediate >> at & 1] for at, pair in enumerate(pairs)], size)

    return model


def _shift(kind: str, size: int) -> Model:
    def one(value: int, count: int) -> int:
        if kind == "left":
            return value << count & (1 << size) - 1 if count < size else 0
        if kind == "right":
            return value >> count if count < size else 0
        signed = value - (1 << size) if value >> size - 1 else value
        return signed >> min(count, size - 1) & (1 << size) - 1

    def model(first: int, second: int, immediate: int, width: int) -> int:
        pairs = zip(split(first, size, width), split(second, size, width), strict=True)
        return join([one(value, count) for value, count in pairs], size)

    return model


def _extend(signed: bool, small: int, large: int) -> Model:
    def one(value: int) -> int:
        return (value - (1 << small)) & (1 << large) - 1 if signed and value >> small - 1 else value

    def model(_: int, source: int, immediate: int, width: int) -> int:
        parts = split(source, small, width // large * small)
        return join([one(part) for part in parts], large)

    return model


def shuffle_bytes(first: int, second: int, immediate: int, width: int) -> int:
    """PSHUFB: bytes of the first, chosen by those of the second, in each lane."""
    lane = min(width, 128)
    out = []
    for at in range(0, width, lane):
        parts = split(first >> at, 8, lane)
        picks = split(second >> at, 8, lane)
        out += [0 if pick & 0x80 else parts[pick & (lane // 8 - 1)] for pick in picks]
    return join(out, 8)


def sum_differences(first: int, second: int, immediate: int, width: int) -> int:
    """MPSADBW: sums of absolute differences of four bytes each."""
    out = []
    for at in range(0, width, 128):
        control = immediate >> (3 if at else 0) & 7
        here, there = split(first >> at, 8, 128), split(second >> at, 8, 128)
        base, block = 4 * (control >> 2), 4 * (control & 3)
        for index in range(8):
            pairs = zip(
                here[base + index : base + index + 4], there[block : block + 4], strict=True
            )
            out.append(sum(abs(one - other) for one, other in pairs))
    return join(out, 16)


def _permute_in_lane(size: int) -> Model:
    def model(_: int, source: int, immediate: int, width: int) -> int:
        parts, count = split(source, size, width), 128 // size
        picks = [
            immediate >> 2 * (at % 4) & 3 if size == 32 else immediate >> at & 1
            for at in range(len(parts))
        ]
        return join([parts[at // count * count + pick] for at, pick in enumerate(picks)], size)

    return model


def _shuffle_doubles(first: int, second: int, immediate: int, width: int) -> int:
    here, there = split(first, 64, width), split(second, 64, width)
    out = []
    for at in range(0, len(here), 2):
        out += [here[at + (immediate >> at & 1)], there[at + (immediate >> at + 1 & 1)]]
    return join(out, 64)


def signs(source: int, size: int, width: int) -> int:
    """The top bit of each element: MOVMSK."""
    return sum((part >> size - 1) << index for index, part in enumerate(split(source, size, width)))


MODELS: dict[int, Model] = {
    Mnemonic.VBROADCASTSS: _broadcast(32),
    Mnemonic.VBROADCASTSD: _broadcast(64),
    Mnemonic.VBROADCASTF128: _broadcast(128),
    Mnemonic.VBROADCASTI128: _broadcast(128),
    Mnemonic.VPBROADCASTB: _broadcast(8),
    Mnemonic.VPBROADCASTW: _broadcast(16),
    Mnemonic.VPBROADCASTD: _broadcast(32),
    Mnemonic.VPBROADCASTQ: _broadcast(64),
    Mnemonic.VINSERTF128: _insert,
    Mnemonic.VINSERTI128: _insert,
    Mnemonic.VEXTRACTF128: _extract,
    Mnemonic.VEXTRACTI128: _extract,
    Mnemonic.VPERM2F128: _two_lanes,
    Mnemonic.VPERM2I128: _two_lanes,
    Mnemonic.VPERMQ: _permute_quads,
    Mnemonic.VPERMPD: _permute_quads,
    Mnemonic.VPERMD: _permute_by_first,
    Mnemonic.VPERMPS: _permute_by_first,
    Mnemonic.VPBLENDD: _blend(32),
    Mnemonic.VBLENDPS: _blend(32),
    Mnemonic.VBLENDPD: _blend(64),
    Mnemonic.VPSLLVD: _shift("left", 32),
    Mnemonic.VPSLLVQ: _shift("left", 64),
    Mnemonic.VPSRLVD: _shift("right", 32),
    Mnemonic.VPSRLVQ: _shift("right", 64),
    Mnemonic.VPSRAVD: _shift("signed", 32),
    Mnemonic.VPSHUFB: shuffle_bytes,
    Mnemonic.VMPSADBW: sum_differences,
    Mnemonic.PSHUFB: shuffle_bytes,
    Mnemonic.MPSADBW: sum_differences,
    Mnemonic.VSHUFPD: _shuffle_doubles,
    **{
        getattr(Mnemonic, f"VPMOV{sign}X{name}"): _extend(sign == "S", small, large)
        for sign in "SZ"
        for name, small, large in (
            *(("BW", 8, 16), ("BD", 8, 32), ("BQ", 8, 64)),
            *(("WD", 16, 32), ("WQ", 16, 64), ("DQ", 32, 64)),
        )
    },
}
"""By mnemonic; `PERMIL` has two forms and is asked for by its immediate."""
PERMUTE_IN_LANE = {
    Mnemonic.VPERMILPS: _permute_in_lane(32),
    Mnemonic.VPERMILPD: _permute_in_lane(64),
}
MASKS = {Mnemonic.VPMOVMSKB: 8, Mnemonic.VMOVMSKPS: 32, Mnemonic.VMOVMSKPD: 64}
