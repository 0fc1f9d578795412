"""Crates of one workspace: constants and routines that one crate takes from another."""

import pytest

from hvci.errors import InputError
from sources import bad, lay, read, values

WORKSPACE = '[workspace]\nmembers = ["driver", "common-defs"]\n'
DRIVER = """
[package]
name = "driver"
version = "0.1.0"
[lib]
crate-type = ["cdylib"]
[dependencies]
wdk-sys = "0.5"
{}
"""
COMMON = '[package]\nname = "common-defs"\nversion = "0.1.0"\n[features]\nexec = []\n'
USUAL = 'common-defs = { path = "../common-defs" }'
ITEMS = """
mod inner;
pub use inner::*;
pub use inner::EXEC as Renamed;
pub mod deep { pub use crate::inner::PLAIN; pub const KIND: u64 = 0x80; }
pub struct Flags; impl Flags { pub const KIND: u64 = 0x80; }
#[cfg(target_arch = "x86_64")] pub const MACHINE: u64 = 0x80;
#[cfg(target_arch = "aarch64")] pub const MACHINE: u64 = 0x40;
#[cfg(feature = "exec")] pub const FEATURE: u64 = 0x80;
#[cfg(not(feature = "exec"))] pub const FEATURE: u64 = 0x40;
#[repr(u64)] pub enum Pool { Plain = 0x40, Code = 0x80 }
pub const OWN: u64 = 0x80;
"""
INNER = "pub const EXEC: u64 = 0x80;\npub const PLAIN: u64 = wdk_sys::POOL_FLAG_NON_PAGED;\n"


def workspace(folder, text, dependency=USUAL, items=ITEMS):
    lay(folder, Cargo__toml=WORKSPACE, driver___src___lib__rs=text)
    lay(folder / "driver", Cargo__toml=DRIVER.format(dependency))
    common = lay(folder / "common-defs", Cargo__toml=COMMON, src___lib__rs=items)
    lay(common, src___inner__rs=INNER)
    return read(folder)


NAMES = {
    "use common_defs::EXEC;": ("EXEC", {0x80}),
    "use common_defs::{EXEC, PLAIN};": ("EXEC | PLAIN", {0xC0}),
    "use common_defs::EXEC as Mine;": ("Mine", {0x80}),
    "use common_defs::Renamed;": ("Renamed", {0x80}),
    "use common_defs::Renamed as Mine;": ("Mine", {0x80}),
    "use common_defs::*;": ("EXEC", {0x80}),
    "use common_defs::deep;": ("deep::PLAIN", {0x40}),
    "use common_defs::deep as d;": ("d::KIND", {0x80}),
    "use common_defs::deep::{self, KIND};": ("KIND", {0x80}),
    "use common_defs as c;": ("c::inner::EXEC", {0x80}),
    "use common_defs::Flags;": ("Flags::KIND", {0x80}),
    "use common_defs::Pool;": ("Pool::Code as u64", {0x80}),
    "": ("common_defs::PLAIN", {0x40}),
    "mod own { pub const OWN: u64 = 0x40; }": ("common_defs::OWN", {0x80}),
    "mod own { pub const OWN: u64 = 0x40; } use common_defs::Flags;": ("own::OWN", {0x40}),
    "use common_defs::MACHINE;": ("MACHINE", {0x40, 0x80}),
    "use common_defs::FEATURE;": ("FEATURE", {0x40}),
    "const EXEC: u64 = 0x40; use common_defs::PLAIN;": ("EXEC", {0x40}),
}


@pytest.mark.parametrize("use", NAMES)
def test_constants_of_another_crate(tmp_path, use):
    argument, possible = NAMES[use]
    text = f"{use}\nfn f() {{ unsafe {{ ExAllocatePool2({argument}, 8, 1) }}; }}"
    ((_, _, found, whole),) = values(workspace(tmp_path, text))
    assert (found, whole) == (possible, True)


@pytest.mark.parametrize(
    ("dependency", "name"),
    [
        ('renamed = { package = "common-defs", path = "../common-defs" }', "renamed"),
        ('common-defs = { path = "../common-defs", features = ["exec"] }', "common_defs"),
    ],
)
def test_how_a_crate_is_linked(tmp_path, dependency, name):
    text = f"fn f() {{ unsafe {{ ExAllocatePool2({name}::FEATURE, 8, 1) }}; }}"
    found = values(workspace(tmp_path, text, dependency))
    assert found[0][2] == ({0x80} if "exec" in dependency else {0x40})


def test_what_no_crate_here_has_is_undecided(tmp_path):
    text = "mod own { pub const KIND: u64 = 0x40; } use elsewhere::flags;\n"
    text += "fn f() { unsafe { ExAllocatePool2(flags::KIND, 8, 1) }; }"
    ((_, _, _, whole),) = values(workspace(tmp_path, text))
    assert not whole


ROUTINES = {
    "use wdk_sys::ntddk::ExAllocatePool2 as pool;": "pool",
    "use wdk_sys::{ntddk::{ExAllocatePool2 as pool, ExFreePool}};": "pool",
    "use common_defs::allocate;": "allocate",
    "use common_defs::allocate as mine;": "common_defs::allocate",
    "use wdk_sys as k;": "k::ntddk::ExAllocatePool2",
}


@pytest.mark.parametrize("use", ROUTINES)
def test_routines_by_another_name(tmp_path, use):
    text = f"{use}\nfn f() {{ unsafe {{ {ROUTINES[use]}(0x80, 8, 1) }}; }}"
    items = "pub use wdk_sys::ntddk::ExAllocatePool2 as allocate;"
    assert bad(workspace(tmp_path, text, items=items)) == {"execute-pool-type"}


def test_a_function_of_the_driver_that_has_that_name_is_none(tmp_path):
    text = "fn allocate(a: u64, b: u64, c: u32) {}\nfn f() { allocate(0x80, 8, 1); }"
    items = "pub use wdk_sys::ntddk::ExAllocatePool2 as allocate;"
    assert workspace(tmp_path, text, items=items).calls == ()


def test_crates_that_name_each_other_end(tmp_path):
    items = "pub use common_defs::Loop as Loop2;\npub use Loop2 as Loop;\npub const A: u64 = A;"
    text = "use common_defs::Loop;\nfn f() { unsafe { ExAllocatePool2(Loop, 8, 1) }; }"
    ((_, _, _, whole),) = values(workspace(tmp_path, text, items=items))
    assert not whole


PATCHES = [
    ('common-defs = "0.1"', '[patch.crates-io]\ncommon-defs = { path = "common-defs" }\n'),
    ('common-defs = { version = "0.1" }', '[patch.crates-io.common-defs]\npath = "common-defs"\n'),
    (
        'common-defs = { git = "https://x.y/z" }',
        '[patch."https://x.y/z"]\ncommon-defs = { path = "common-defs" }\n',
    ),
    (
        'common-defs = "0.1"',
        '[patch.crates-io]\nmine = { package = "common-defs", path = "common-defs" }\n',
    ),
    (
        "common-defs.workspace = true",
        '[workspace.dependencies]\ncommon-defs = "0.1"\n'
        '[patch.crates-io]\ncommon-defs = { path = "common-defs" }\n',
    ),
]


@pytest.mark.parametrize(("dependency", "patch"), PATCHES)
def test_a_folder_that_stands_for_a_crate_of_a_registry(tmp_path, dependency, patch):
    items = ITEMS + "pub unsafe fn ask() { ExAllocatePoolWithTag(0, 8, 1); }\n"
    workspace(tmp_path, "fn f() { unsafe { common_defs::ask() } }\n", dependency, items)
    head = '[workspace]\nmembers = ["driver"]\n'
    lay(tmp_path, Cargo__toml=head)
    assert not bad(read(tmp_path / "driver"))
    lay(tmp_path, Cargo__toml=head + patch)
    assert bad(read(tmp_path / "driver")) == {"execute-pool-type"}
    lay(tmp_path, Cargo__toml=head + patch.replace("crates-io", "other").replace("x.y", "a.b"))
    assert not bad(read(tmp_path / "driver"))


ALLOCATES = "use wdk_sys::*;\nunsafe fn f() {{ ExAllocatePoolWithTag(_POOL_TYPE::{}, 8, 1); }}\n"
MEMBER = DRIVER.replace('"driver"', '"{0}"').replace("{}", "")


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ('members = ["a", "b"]', {"a", "b"}),
        ('members = ["*"]', {"a", "b"}),
        ('members = ["*"]\nexclude = ["a"]', {"b"}),
        ('members = ["./a/"]', {"a"}),
        ('members = ["a", "b"]\ndefault-members = ["b"]', {"b"}),
        ('members = ["b", "/nowhere", "../x", 3]', {"b"}),
    ],
)
def test_a_workspace_stands_for_its_members(tmp_path, said, asked):
    lay(tmp_path, Cargo__toml=f"[workspace]\n{said}\n")
    for name, kind in (("a", "NonPagedPool"), ("b", "NonPagedPoolNx")):
        manifest = MEMBER.replace("{0}", name)
        lay(tmp_path / name, Cargo__toml=manifest, src___lib__rs=ALLOCATES.format(kind))
    evidence = read(tmp_path / "Cargo.toml")
    found = {call.site.path.split("/")[-3] for call in evidence.calls}
    assert found == asked
    assert ("execute-pool-type" in bad(evidence)) is ("a" in asked)


@pytest.mark.parametrize("said", ["members = 3", "members = []", "[["])
def test_a_workspace_of_no_member_is_no_driver(tmp_path, said):
    lay(tmp_path, Cargo__toml=f"[workspace]\n{said}\n", a___Cargo__toml=MEMBER.replace("{0}", "a"))
    if said == "[[":
        assert any(
            "could not be read" in one.reason for one in read(tmp_path / "Cargo.toml").limits
        )
    else:
        with pytest.raises(InputError, match="nor a driver project"):
            read(tmp_path / "Cargo.toml")
