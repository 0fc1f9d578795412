"""What an evaluation costs beside other tools that read a driver, on the same files in one run.

    python bench/beside.py FOLDER [--machine x64] [--drivers 20] [--below BYTES] [--repeat 3]

Each tool is given each driver in turn, so that all meet the same moods of the machine, and the
least processor time of `--repeat` turns counts, children included. They do less or something else:

- sha256: the file is read once;
- LIEF, pefile (fast and full): the headers and tables of the file;
- iced, capstone: all bytes of the executable sections decoded one behind the other, nothing kept;
- objdump: the same as text, in a process of its own;
- smda: functions recovered, no values, no verdict;
- hvci: functions, call sites, values, behaviours, signature and verdict.

A tool that is not installed is left out: `pip install lief pefile capstone smda`, and binutils.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import random
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hvci.binary.pe.image import PeImage
from hvci.errors import HvciError
from hvci.evaluate import evaluate
from hvci.model import Machine

Tool = Callable[[Path, bytes], object]


def spent() -> float:
    """Processor time of this process and the children that it waited for, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def code_of(data: bytes) -> list[tuple[int, bytes]]:
    """Address and bytes of each executable section."""
    image = PeImage(data)
    return [
        (section.rva, data[section.raw_offset : section.raw_offset + section.raw_size])
        for section in image.sections
        if section.executable and section.raw_size
    ]


def tools(machine: Machine) -> dict[str, Tool]:
    """The tools that are here, by name; each takes a path and the bytes of the file."""
    import iced_x86

    def iced(path: Path, data: bytes) -> None:
        for rva, code in code_of(data):
            bits = 32 if machine is Machine.X86 else 64
            for _ in iced_x86.Decoder(bits, code, ip=rva):
                pass

    found: dict[str, Tool] = {"sha256": lambda path, data: hashlib.sha256(data).digest()}
    if lief := _module("lief"):
        found["LIEF"] = lambda path, data: lief.PE.parse(list(data))
    if pefile := _module("pefile"):
        found["pefile, fast"] = lambda path, data: pefile.PE(data=data, fast_load=True)
        found["pefile, full"] = lambda path, data: pefile.PE(data=data)
    if machine is not Machine.ARM64:
        found["iced"] = iced
    if capstone := _module("capstone"):
        modes = {
            Machine.X64: (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
            Machine.X86: (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
            Machine.ARM64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
        }

        def sweep(path: Path, data: bytes) -> None:
            decoder = capstone.Cs(*modes[machine])
            decoder.skipdata = True
            for rva, code in code_of(data):
                for _ in decoder.disasm_lite(code, rva):
                    pass

        found["capstone"] = sweep
    if shutil.which("objdump") and machine is not Machine.ARM64:
        found["objdump -d"] = lambda path, data: subprocess.run(
            ["objdump", "-d", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    if (smda := _module("smda.Disassembler")) and machine is not Machine.ARM64:
        import logging

        logging.disable(logging.CRITICAL)
        found["smda"] = lambda path, data: smda.Disassembler().disassembleFile(str(path))
    found["hvci"] = lambda path, data: evaluate(path)
    return found


def _module(name: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def drivers(folder: Path, machine: Machine, count: int, below: int, seed: int) -> list[Path]:
    """A sample of the drivers of a machine below a size that hvci evaluates."""
    found = []
    for path in sorted(folder.rglob("*.sys")):
        if path.stat().st_size >= below:
            continue
        try:
            if evaluate(path).image.machine is machine:
                found.append(path)
        except HvciError:
            continue
    return random.Random(seed).sample(found, min(count, len(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", type=Machine, default=Machine.X64)
    parser.add_argument("--drivers", type=int, default=20)
    parser.add_argument("--below", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    chosen = drivers(asked.folder, asked.machine, asked.drivers, asked.below, asked.seed)
    if not chosen:
        parser.error(f"no {asked.machine} driver below {asked.below:,} bytes there")
    least: dict[str, list[float]] = {}
    beside = tools(asked.machine)
    for path in chosen:
        data = path.read_bytes()
        best: dict[str, float] = {}
        for _ in range(asked.repeat):
            for name, tool in beside.items():
                begin = spent()
                tool(path, data)
                best[name] = min(best.get(name, float("inf")), spent() - begin)
        for name, seconds in best.items():
            least.setdefault(name, []).append(seconds)
    ours = sum(least["hvci"])
    size = sum(path.stat().st_size for path in chosen)
    print(f"{len(chosen)} {asked.machine} drivers, {size:,} bytes; load {os.getloadavg()[0]:.1f}\n")
    print("| tool | seconds | median ms | to hvci |\n|---|---|---|---|")
    for name, seconds in sorted(least.items(), key=lambda item: sum(item[1])):
        print(
            f"| {name} | {sum(seconds):.3f} | {1000 * statistics.median(seconds):.1f}"
            f" | {sum(seconds) / ours:.2f} |"
        )


if __name__ == "__main__":
    main()
