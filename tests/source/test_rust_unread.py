"""What belongs to a Rust driver crate and is not read is named."""

import pytest

from hvci.model.judged import CALL_RULES, TEXT_RULES
from sources import lay, read, value_of

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
    (
        "paste! { fn f() { unsafe { [<ExAllocate Pool>](1, 8); } } }\n",
        "name ExAllocatePool together",
    ),
    (
        "macro_rules! m { ($a:ident) => { paste! { [<ExAllocate $a:camel>](0) } } }\n"
        "fn f() { m!(Pool); }\n",
        "name ExAllocatePool together",
    ),
    ("fn f() { concat_idents!(ExAllocate, Pool)(0, 8); }\n", "name ExAllocatePool together"),
    ('include!("here.inc");\n', 'what include!("here.inc") takes in is not read'),
    ('include!(concat!(env!("OUT_DIR"), "/x.rs"));\n', "takes in is not read"),
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
    "paste! { fn [<get_ name>]() {} fn [<Ex FreePool>]() {} }\n",
    'include!("here.rs");\n',
    "macro_rules! m { ($a:ident) => { paste! { fn [<$a>]() {} } } }\n",
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


def test_declarations_that_a_build_script_makes(tmp_path):
    text = 'include!(concat!(env!("OUT_DIR"), "/types.rs"));\n'
    assert weighing(tmp_path, text, build__rs="fn main() { bindgen::builder(); }") == []


def test_crates_that_are_elsewhere(tmp_path):
    linked = 'bitflags = "2"\nours = { git = "https://example.org/ours" }\n'
    linked += 'other = { git = "https://example.org/other", optional = true }\n'
    lay(tmp_path, Cargo__toml=CARGO + linked, src___lib__rs=CALL)
    told = {one.reason.partition(": ")[2]: one.rules for one in read(tmp_path).limits}
    assert told["crates of a registry are not read: bitflags"] == ()
    (ours,) = [why for why in told if "it links ours from a repository" in why]
    assert set(told[ours]) == set(CALL_RULES)
    assert not any("other" in why for why in told)


def test_an_enumerator_that_counts_on_from_what_is_not_known(tmp_path):
    text = (
        "enum F { A = ask(), B, C = 0x40, D }\nfn f() { wdk_sys::ExAllocatePool2(F::%s, 8, 1); }\n"
    )
    for name, expected in (("B", (set(), False)), ("C", ({0x40}, True)), ("D", ({0x41}, True))):
        lay(tmp_path, Cargo__toml=CARGO, src___lib__rs=text % name)
        assert value_of(read(tmp_path), "ExAllocatePool2") == expected


ROOT = "mod a;\n" + CALL


def test_more_files_than_are_looked_at(tmp_path, monkeypatch):
    lay(tmp_path, Cargo__toml=CARGO, src___a__rs="", src___lib__rs=ROOT, src___z__rs="")
    monkeypatch.setattr("hvci.source.rust.cargo.MAX_FILES", 3)
    monkeypatch.setattr("hvci.source.rust.crates.MAX_FILES", 3)
    assert not [one for one in read(tmp_path).limits if "more than" in one.reason]
    monkeypatch.setattr("hvci.source.rust.cargo.MAX_FILES", 1)
    evidence = read(tmp_path)
    (limit,) = [one for one in evidence.limits if "more than 3 Rust files" in one.reason]
    assert "src/lib.rs and those behind it were not looked at" in limit.reason
    assert set(TEXT_RULES) <= set(limit.rules)


def test_a_crate_whose_files_are_not_all_looked_at_may_be_a_driver(tmp_path, monkeypatch):
    cargo = CARGO.replace('wdk-sys = "0.5"\n', "")
    lay(tmp_path, Cargo__toml=cargo, src___a__rs="", src___lib__rs=ROOT)
    monkeypatch.setattr("hvci.source.rust.cargo.MAX_FILES", 1)
    assert [one for one in read(tmp_path).limits if "Rust files" in one.reason]


def test_more_crates_than_are_looked_at(tmp_path, monkeypatch):
    lay(tmp_path, a___Cargo__toml=CARGO, a___src___lib__rs=CALL)
    lay(tmp_path, b___Cargo__toml=CARGO, b___src___lib__rs=CALL)
    monkeypatch.setattr("hvci.source.rust.cargo.MAX_FILES", 1)
    monkeypatch.setattr("hvci.source.rust.crates.MAX_FILES", 1)
    (limit,) = [one for one in read(tmp_path).limits if "more than 1 crates" in one.reason]
    assert limit.site.path.endswith("b/Cargo.toml")
    assert set(TEXT_RULES) <= set(limit.rules)


def test_more_crates_than_are_followed(tmp_path, monkeypatch):
    lay(tmp_path, Cargo__toml=CARGO + 'one = { path = "one" }\n', src___lib__rs=CALL)
    lay(tmp_path, one___Cargo__toml='[package]\nname = "one"\n', one___src___lib__rs="")
    monkeypatch.setattr("hvci.source.rust.manifests.MAX_CRATES", 1)
    (limit,) = [one for one in read(tmp_path).limits if "it links more than" in one.reason]
    assert "one/Cargo.toml" in limit.reason
    assert set(TEXT_RULES) <= set(limit.rules)
