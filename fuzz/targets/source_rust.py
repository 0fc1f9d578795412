"""Rust text of a driver."""

from __future__ import annotations

from collections.abc import Iterator

import texts

SEEDS = (
    '#![no_std]\nuse wdk_sys::ntddk::*;\nconst T: u32 = NonPagedPool | 0x200;\n#[no_mangle]\npub unsafe extern "C" fn '
    "driver_entry(d: *mut u8) -> i32 { let p = ExAllocatePoolWithTag(T, 8, 0x1234); match p { _ => 0 } }\n",
    "mod a { pub fn f<T: Copy>(x: &'static T) -> impl Fn() { move || { unsafe { MmMapIoSpace(x, 1, 0) }; } } }\n"
    'macro_rules! m { ($a:expr) => { $a + 1 } } static S: &str = r#"x"#;\n',
)


def one(data: bytes) -> None:
    """Words, in the order that the input says, or the text itself."""
    texts.examined("lib.rs", data, SEEDS)


def seeds() -> Iterator[bytes]:
    """Texts that the input may take pieces from, as they are."""
    for number, _ in enumerate(SEEDS):
        yield bytes([1, number])
        yield b"\0" + SEEDS[number].encode()
