"""Other builds: sources files, makefiles, Cargo and Meson."""

from __future__ import annotations

from collections.abc import Iterator

import texts

NAMES = ("sources", "makefile", "Cargo.toml", "meson.build")
SEEDS = (
    "TARGETNAME=d\nTARGETTYPE=DRIVER\nC_DEFINES=$(C_DEFINES) -DPOOL_NX_OPTIN=1\n!IF $(386)\nSOURCES=driver.c \\\n  b.c\n!ENDIF\n",
    "CC = x86_64-w64-mingw32-gcc\nCFLAGS += -DX=1 $(shell ls)\nall: driver.sys\ndriver.sys: driver.c\n\t$(CC) -o $@ $^ -Wl,--subsystem,native\n",
    '[package]\nname = "d"\nversion = "0.1.0"\n[lib]\ncrate-type = ["cdylib"]\n[package.metadata.wdk.driver-model]\ndriver-type = "KMDF"\n',
    "project('d', 'c')\nshared_library('d', 'driver.c', c_args: ['-DX'], name_suffix: 'sys')\n",
)


def one(data: bytes) -> None:
    """The first byte chooses the file, the rest what it holds; a source lies beside it."""
    name = NAMES[(data[0] if data else 0) % len(NAMES)]
    texts.examined(name, data[1:], SEEDS, beside=texts.SOURCE)


def seeds() -> Iterator[bytes]:
    """Each file with each text."""
    for which in range(len(NAMES)):
        for number, _ in enumerate(SEEDS):
            yield bytes([which, 1, number])
            yield bytes([which, 0]) + SEEDS[number].encode()
