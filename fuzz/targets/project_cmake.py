"""CMake's listfiles."""

from __future__ import annotations

from collections.abc import Iterator

import texts

NAMES = ("CMakeLists.txt",)
SEEDS = (
    "cmake_minimum_required(VERSION 3.20)\nproject(d C)\nfind_package(WDK REQUIRED)\nset(S driver.c ${X})\nif(MSVC AND NOT "
    'X STREQUAL "y")\n  wdk_add_driver(d KMDF 1.15 ${S})\nelseif(DEFINED Z)\n  add_library(d MODULE driver.c)\nendif()\n'
    "target_compile_definitions(d PRIVATE POOL_NX_OPTIN=1 $<$<CONFIG:Debug>:DBG>)\n",
    "function(f a)\n  foreach(i RANGE 3)\n    list(APPEND L ${i})\n  endforeach()\n  while(L)\n  endwhile()\nendfunction()\n"
    'macro(m)\n f(${ARGN})\nendmacro()\nm(1 2)\nstring(REGEX REPLACE "(a+)+b" "c" O "aaaaaaa")\n#[[ x ]]\ninclude(driver.cmake)\n',
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
