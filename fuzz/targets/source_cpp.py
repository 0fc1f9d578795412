"""C++ text of a driver."""

from __future__ import annotations

from collections.abc import Iterator

import texts

SEEDS = (
    "template <typename T> class A : public B<T> { virtual void f() override { auto x = [&](auto y) { "
    "return ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, 8, 'abcd'); }; } };\n",
    'extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT o, PUNICODE_STRING) { return new (NonPagedPool) X{1}; }\n'
    "namespace n { constexpr int k = sizeof(int) ? 1 : 2; } using T = decltype(n::k);\n",
)


def one(data: bytes) -> None:
    """Words, in the order that the input says, or the text itself."""
    texts.examined("driver.cpp", data, SEEDS)


def seeds() -> Iterator[bytes]:
    """Texts that the input may take pieces from, as they are."""
    for number, _ in enumerate(SEEDS):
        yield bytes([1, number])
        yield b"\0" + SEEDS[number].encode()
