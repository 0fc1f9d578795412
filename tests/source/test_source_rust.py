"""Driver crates: which calls of Rust text are found, and with which values."""

import pytest

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate
from hvci.model import Verdict, Via
from sources import bad, entry, lay, read, value_of, values, vcxproj

CARGO = """
[package]
name = "driver"
version = "0.1.0"
{metadata}
[lib]
crate-type = ["cdylib"]
[dependencies]
{dependencies}
"""
MODEL = '[package.metadata.wdk.driver-model]\ndriver-type = "{}"\n'
WDK = 'wdk-sys = "0.5"'


def crate(folder, text, model="WDM", dependencies=WDK):
    metadata = MODEL.format(model) if model else ""
    cargo = CARGO.format(metadata=metadata, dependencies=dependencies)
    return lay(folder, Cargo__toml=cargo, src___lib__rs=text)


ENUM = "#[repr(i32)] enum POOL_TYPE { NonPagedPool, PagedPool, Other = 0x200, Next }\n"
ARGUMENTS = [
    ("0", 0),
    ("0x200u32 as _", 0x200),
    ("512_i32", 0x200),
    ("POOL_TYPE::NonPagedPool", 0),
    ("_POOL_TYPE::NonPagedPoolNx", 0x200),
    ("wdk_sys::_POOL_TYPE::NonPagedPoolNx as i32", 0x200),
    ("(KIND)", 0),
    ("KIND | NX", 0x200),
    ("consts::NX", 0x200),
    ("{ let k = NX; k }", None),
    ("kind", 0x200),
    ("given", None),
    ("changed", None),
    ("compute()", None),
]
ITEMS = """
const KIND: i32 = POOL_TYPE::NonPagedPool as i32;
mod consts { pub const NX: i32 = 0x200; }
const NX: i32 = consts::NX;
fn f(given: i32) {
    let kind = NX;
    let mut changed = NX;
    changed = 0;
    let p = unsafe { ExAllocatePoolWithTag(%s, 8, 0x41) };
}
"""


@pytest.mark.parametrize(("argument", "value"), ARGUMENTS)
def test_values(tmp_path, argument, value):
    evidence = read(crate(tmp_path, ITEMS % argument))
    expected = (set(), False) if value is None else ({value}, True)
    assert value_of(evidence, "ExAllocatePoolWithTag") == expected


@pytest.mark.parametrize(
    ("argument", "value"),
    [("POOL_TYPE::PagedPool", 1), ("POOL_TYPE::Other", 0x200), ("POOL_TYPE::Next as u32", 0x201)],
)
def test_the_numbers_of_a_hand_made_enum_decide(tmp_path, argument, value):
    evidence = read(crate(tmp_path, ENUM + ITEMS % argument))
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({value}, True)


def test_an_allocator_and_where_its_calls_are(tmp_path):
    text = """
unsafe impl GlobalAlloc for KernelAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ExAllocatePool2(POOL_FLAG_NON_PAGED, layout.size() as u64, 0x74737572) as *mut u8
    }
}
unsafe impl GlobalAlloc for Bad {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        wdk_sys::ntddk::ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, 8, 1) as _
    }
}
extern "system" { fn ExAllocatePoolWithTag(kind: i32, size: usize, tag: u32) -> *mut u8; }
"""
    evidence = read(crate(tmp_path, text))
    assert values(evidence) == [
        (4, "ExAllocatePool2", {0x40}, True),
        (9, "ExAllocatePool2", {0x80}, True),
    ]
    assert evidence.calls[0].site.function == "alloc"
    assert bad(evidence) == {"execute-pool-type"}


def test_a_binding_macro_calls_kmdf(tmp_path):
    text = """fn f() {
    let status = unsafe { call_unsafe_wdf_function_binding!(
        WdfMemoryCreate, WDF_NO_OBJECT_ATTRIBUTES, _POOL_TYPE::NonPagedPool, 1, 8, &mut m, &mut b
    ) };
    println!("{:?}", ExAllocatePool2(POOL_FLAG_PAGED, 8, 1));
}"""
    evidence = read(crate(tmp_path, text, model="KMDF"))
    assert [call.via for call in evidence.calls] == [Via.KMDF, Via.SOURCE]
    assert value_of(evidence, "WdfMemoryCreate") == ({0}, True)
    assert value_of(evidence, "ExAllocatePool2") == ({0x100}, True)


def test_a_routine_that_is_used_as_a_value_is_a_limit(tmp_path):
    evidence = read(crate(tmp_path, "use x::ExAllocatePool2;\nfn f() { take(ExAllocatePool2); }"))
    assert any("ExAllocatePool2 is used as a value" in one.reason for one in evidence.limits)


def test_a_umdf_crate_says_so(tmp_path):
    evidence = read(crate(tmp_path, "fn f() { ExAllocatePool(0, 8); }", model="UMDF"))
    assert evidence.calls == ()
    assert any("a UMDF driver crate" in one.reason for one in evidence.limits)


def test_the_workspace_names_the_model(tmp_path):
    crate(tmp_path / "member", "fn f() { ExAllocatePool(0, 8); }", model="", dependencies="")
    (tmp_path / "Cargo.toml").write_text(
        '[workspace]\nmembers = ["member"]\n[workspace.metadata.wdk.driver-model]\n'
        'driver-type = "KMDF"\n'
    )
    evidence = read(tmp_path)
    assert value_of(evidence, "ExAllocatePool") == ({0}, True)
    assert any("a Rust KMDF driver crate" in one.reason for one in evidence.limits)


def test_a_crate_for_user_mode_is_no_driver(tmp_path):
    crate(tmp_path, "fn f() {}", model="", dependencies='serde = "1"')
    with pytest.raises(InputError):
        read(tmp_path)


def test_a_driver_with_a_crate_beside_it_is_never_silent(tmp_path):
    lay(tmp_path, a__c=entry("p = ExAllocatePool2(POOL_FLAG_PAGED, 8, 'a');"))
    lay(tmp_path, a__vcxproj=vcxproj("a.c"))
    assert evaluate(tmp_path, Options()).verdict is Verdict.COMPATIBLE
    crate(tmp_path / "rust", "fn f() { g(); }")
    report = evaluate(tmp_path, Options())
    assert report.verdict is Verdict.UNDECIDED
    assert any("a Rust WDM driver crate" in one.reason for one in report.limits)
    crate(tmp_path / "rust", "fn f() { ExAllocatePool(0, 8); }")
    assert evaluate(tmp_path, Options()).verdict is Verdict.INCOMPATIBLE


@pytest.mark.parametrize("name", ["Cargo.toml", "src/lib.rs"])
def test_a_file_of_a_crate_stands_for_it(tmp_path, name):
    crate(tmp_path, "fn f() { ExAllocatePool(0, 8); }")
    assert value_of(read(tmp_path / name), "ExAllocatePool") == ({0}, True)


@pytest.mark.parametrize("text", [b"\xff\xfe\0", b"fn f( {{{ ExAllocatePool(", b"", b"[" * 20000])
def test_bad_rust(tmp_path, text):
    crate(tmp_path, text)
    read(tmp_path)


def test_a_manifest_that_is_none(tmp_path):
    crate(tmp_path, "fn f() {}")
    (tmp_path / "Cargo.toml").write_bytes(b"\xff[package")
    assert any("could not be read" in one.reason for one in read(tmp_path).limits)
