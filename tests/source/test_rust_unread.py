"""What belongs to a Rust driver crate and is not read is named."""

import pytest

from hvci.model.judged import TEXT_RULES
from sources import lay, read

CARGO = """
[package]
name = "driver"
version = "0.1.0"
[lib]
crate-type = ["cdylib"]
[dependencies]
wdk-sys = "0.5"
"""
CALL = "pub fn g() { unsafe { wdk_sys::ntddk::ExAllocatePool2(0x40, 8, 1); } }\n"


def weighing(folder, text, **files):
    lay(folder, Cargo__toml=CARGO, src___lib__rs=CALL + text, **files)
    limits = read(folder).limits
    return [one.reason for one in limits if set(TEXT_RULES) <= set(one.rules)]


UNREAD = [
    ("mod gone;\n", "the module gone is in no file here"),
    (
        '#[link_name = "ExAllocatePool2"]\nextern "C" { fn a(f: u64); }\n',
        "ExAllocatePool2 is called",
    ),
    ('extern "C" { #[link_name = "ExAllocatePool"] fn a(); }\n', "ExAllocatePool is called"),
    ('core::arch::global_asm!("f:", "call ExAllocatePoolWithTag");\n', "or in assembly"),
    ('core::arch::global_asm!(include_str!("low.s"));\n', "the assembly in low.s is not read"),
    (
        'fn f() { let n = w!("ExAllocatePool"); unsafe { MmGetSystemRoutineAddress(&n) }; }\n',
        "ExAllocatePool is named in a string",
    ),
    (
        'static N: &[u8] = b"ExAllocatePool\\0";\nfn f() { unsafe { FltGetRoutineAddress(N) }; }\n',
        "ExAllocatePool is named in a string",
    ),
]


@pytest.mark.parametrize(("text", "told"), UNREAD)
def test_what_is_not_read_is_named(tmp_path, text, told):
    assert [told in reason for reason in weighing(tmp_path, text)] == [True]


READ = [
    "mod here;\n",
    "mod inner { pub const A: u64 = 1; }\n",
    "#[cfg(test)]\nmod tests;\n",
    '#[path = "here.rs"]\nmod other;\n',
    'core::arch::global_asm!("f:", "ret");\n',
    'fn f() { log("ExAllocatePool"); }\n',
    'fn f() { unsafe { MmGetSystemRoutineAddress(w!("MmGetSessionId")) }; }\n',
]


@pytest.mark.parametrize("text", READ)
def test_what_is_read_weighs_nothing(tmp_path, text):
    assert weighing(tmp_path, text, src___here__rs="pub const B: u64 = 2;\n") == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('fn main() { cc::Build::new().file("a.c").compile("a"); }', "(cc::Build)"),
        ('fn main() { println!("cargo:rustc-link-lib=static=a"); }', "rustc-link-lib=static=a"),
        ('fn main() { println!("cargo::rustc-link-arg=a.obj"); }', "rustc-link-arg=a.obj"),
        ("fn main() { wdk_build::configure_wdk_binary_build() } // cc::Build", ""),
        ("", ""),
    ],
)
def test_what_a_build_script_links(tmp_path, script, told):
    reasons = weighing(tmp_path, "", build__rs=script)
    assert [told in reason for reason in reasons] == ([True] if told else [])
