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


CHANGED = [
    ("static mut KIND: i32 = 512;\n", ""),
    ("", "let mut KIND = 512; change(&mut KIND);"),
    ("", "let KIND = 512; let g = |KIND| KIND;"),
    ("", "let KIND = 512; if let Some(KIND) = x {}"),
    ("", "let KIND = 512; for KIND in [0, 512] {}"),
    ("", "let KIND = 512; match x { KIND => {} }"),
    ("", "let KIND = 512; let (KIND, y) = (0, 1);"),
]


@pytest.mark.parametrize(("item", "before"), CHANGED)
def test_what_may_be_changed_is_not_known(tmp_path, item, before):
    text = f"{item}fn f() {{ {before} unsafe {{ ExAllocatePoolWithTag(KIND, 8, 1) }}; }}\n"
    assert value_of(read(crate(tmp_path, text)), "ExAllocatePoolWithTag") == (set(), False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("call!(ExAllocatePool);", True),
        ("call!(wdk_sys::ExAllocatePool, 0);", True),
        ("stringify!(ExAllocatePool);", False),
    ],
)
def test_a_macro_that_gets_a_routine_is_a_limit(tmp_path, line, told):
    limits = read(crate(tmp_path, f"fn f() {{ {line} }}\n")).limits
    assert any("ExAllocatePool is used as a value" in one.reason for one in limits) is told


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


def test_a_program_in_the_workspace_of_a_driver_is_none(tmp_path):
    model = '[workspace.metadata.wdk.driver-model]\ndriver-type = "KMDF"\n'
    lay(tmp_path, Cargo__toml=f'[workspace]\nmembers = ["drv", "exe"]\n{model}')
    lay(tmp_path / "exe", Cargo__toml='[package]\nname = "exe"\n', src___main__rs="fn main() {}")
    crate(tmp_path / "drv", f"fn f() {{ {CALL} }}", model="")
    evidence = read(tmp_path)
    assert value_of(evidence, "ExAllocatePool") == ({0}, True)
    assert not any("exe/Cargo.toml" in one.reason for one in evidence.limits)


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


FEATURES = """
[features]
default = ["usual"]
usual = ["deep", "dep:gear"]
deep = []
legacy = ["older"]
older = []
[dependencies.gear]
version = "1"
optional = true
"""


def featured(folder, text, extra=FEATURES, model="KMDF"):
    cargo = CARGO.format(metadata=MODEL.format(model), dependencies=WDK) + extra
    return lay(folder, Cargo__toml=cargo, src___lib__rs=text)


CALL = "ExAllocatePool(0, 8);"
KEPT = [
    'feature = "usual"',
    'feature = "deep"',
    'not(feature = "legacy")',
    'any(feature = "legacy", windows)',
    'all(windows, target_os = "windows", target_family = "windows", not(unix))',
    'driver_model__driver_type = "KMDF"',
    'any(target_arch = "x86_64", target_arch = "aarch64")',
    'target_pointer_width = "64"',
    "any(debug_assertions, not(debug_assertions))",
    "not(test)",
    "not(nobody_sets_this)",
]
DROPPED = [
    "test",
    "unix",
    "all(test, windows)",
    'target_os = "linux"',
    'feature = "not_declared"',
    'not(feature = "usual")',
    'driver_model__driver_type = "WDM"',
    "nobody_sets_this",
    "any()",
    'all(target_arch = "x86_64", target_arch = "aarch64")',
    'feature = "legacy"',
    'feature = "older"',
]
PLACES = [
    "#[cfg({})] fn f() {{ {} }}",
    "fn f() {{ #[cfg({})] {} }}",
    "fn f() {{ #[cfg({})] {{ let a = 1; {} }} }}",
    "fn f() {{ #[cfg({})] let p = {} }}",
    "fn f() {{ #[cfg({})] if a {{ {} }} }}",
    "fn f() {{ match a {{ #[cfg({})] 1 => {{ {} }} _ => {{}} }} }}",
    "fn f() {{ if cfg!({}) {{ {} }} }}",
    "fn f() {{ if !(cfg!({})) {{ g(); }} else {{ {} }} }}",
    "fn f() {{ if x && cfg!({}) {{ {} }} }}",
    "#[cfg({})] mod m {{ fn f() {{ {} }} }}",
    "mod m {{ #![cfg({})] fn f() {{ {} }} }}",
    "impl A {{ /// What it is\n #[inline] #[cfg({})] // why\n fn f() {{ {} }} }}",
    "#[cfg_attr(windows, cfg({}))] fn f() {{ {} }}",
    "cfg_if::cfg_if! {{ if #[cfg({})] {{ fn f() {{ {} }} }} else {{ fn f() {{}} }} }}",
    "#![cfg({})]\nfn f() {{ {} }}",
]


def judged(evidence):
    return [(call.dead, set(call.arguments["PoolType"].possible)) for call in evidence.calls]


@pytest.mark.parametrize("place", PLACES)
def test_where_a_condition_may_stand(tmp_path, place):
    for at, (condition, is_kept) in enumerate(((KEPT[0], True), (DROPPED[0], False))):
        evidence = read(featured(tmp_path / str(at), place.format(condition, CALL)))
        assert [not dead for dead, _ in judged(evidence)] == [is_kept], condition
        assert bad(evidence) == ({"execute-pool-type"} if is_kept else set())


@pytest.mark.parametrize("condition", KEPT)
def test_what_is_compiled_is_judged(tmp_path, condition):
    evidence = read(featured(tmp_path, f"#[cfg({condition})] fn f() {{ {CALL} }}"))
    assert judged(evidence) == [("", {0})]
    assert evidence.calls[0].builds == ()
    assert evidence.calls[0].doubt == ""


@pytest.mark.parametrize("condition", DROPPED)
def test_what_is_not_compiled_is_no_finding(tmp_path, condition):
    evidence = read(featured(tmp_path, f"#[cfg({condition})] fn f() {{ {CALL} }}"))
    assert [bool(dead) for dead, _ in judged(evidence)] == [True]
    assert bad(evidence) == set()


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ('feature = "legacy"', 'with feature "legacy"'),
        ('feature = "older"', 'with feature "older"'),
        ('not(feature = "usual")', "without default features"),
        ('all(feature = "older", not(feature = "deep"))', None),
        ('target_arch = "x86"', "for x86"),
        ("test", None),
    ],
)
def test_what_other_configurations_compile_is_told(tmp_path, condition, words):
    evidence = read(featured(tmp_path, f"#[cfg({condition})] fn f() {{ {CALL} }}"))
    told = [one.reason for one in evidence.limits if "not the default" in one.reason]
    assert bad(evidence) == set()
    assert any(words in one for one in told) if words else not told
    assert all(one.rules == () for one in evidence.limits if "not the default" in one.reason)
    (call,) = evidence.calls
    assert call.dead == (f"compiled only {words}" if words else call.dead)


def test_a_value_of_another_configuration_is_told(tmp_path):
    text = """
#[cfg(feature = "legacy")] const K: i32 = 0;
#[cfg(not(feature = "legacy"))] const K: i32 = 512;
fn f() { ExAllocatePool(K, 8); }"""
    evidence = read(featured(tmp_path, text))
    assert judged(evidence) == [("", {0x200})]
    told = [one.reason for one in evidence.limits if "not the default" in one.reason]
    assert any('with feature "legacy"' in one and "NonPagedPool (0x0)" in one for one in told)


@pytest.mark.parametrize(
    ("condition", "labels"),
    [
        ('target_arch = "aarch64"', ("ARM64",)),
        ("debug_assertions", ("debug",)),
        ("not(debug_assertions)", ("release",)),
        ('all(debug_assertions, target_arch = "x86_64")', ("debug|x64",)),
    ],
)
def test_a_call_of_some_configurations_names_them(tmp_path, condition, labels):
    evidence = read(featured(tmp_path, f"#[cfg({condition})] fn f() {{ {CALL} }}"))
    assert tuple(label for label, _ in evidence.calls[0].builds) == labels
    assert bad(evidence) == {"execute-pool-type"}


def test_values_per_machine(tmp_path):
    text = """fn f() {
    let kind = if cfg!(target_arch = "aarch64") { 512 } else { 0 };
    ExAllocatePool(kind, 8);
}"""
    evidence = read(featured(tmp_path, text))
    assert {name: set(one.possible) for name, one in evidence.calls[0].builds} == {
        "x64": {0},
        "ARM64": {0x200},
    }


@pytest.mark.parametrize(
    "text",
    [
        "#[cfg(windows)] let k = 512; #[cfg(not(windows))] let k = 0; ExAllocatePool(k, 8);",
        "let k = if cfg!(windows) { 512 } else { 0 }; ExAllocatePool(k, 8);",
        "ExAllocatePool(#[cfg(unix)] 0, #[cfg(windows)] 512, 8);",
        "let mut k = 512; #[cfg(test)] { k = 0; } let k = 512; ExAllocatePool(512, 8);",
    ],
)
def test_only_values_that_are_compiled_count(tmp_path, text):
    evidence = read(featured(tmp_path, f"fn f() {{ {text} }}"))
    assert judged(evidence) == [("", {0x200})]
    assert bad(evidence) == set()


@pytest.mark.parametrize(
    "files",
    [
        {"src___lib__rs": "#[cfg(test)] mod x;", "src___x__rs": CALL},
        {"src___lib__rs": "#[cfg(unix)] mod x;", "src___x___mod__rs": CALL},
        {
            "src___lib__rs": "#[cfg(unix)] mod x;",
            "src___x__rs": "mod y;",
            "src___x___y__rs": CALL,
        },
        {"src___lib__rs": '#[cfg_attr(unix, path = "y.rs")] mod x;', "src___y__rs": CALL},
        {"src___lib__rs": "fn f() {}", "src___left__rs": CALL},
        {"src___lib__rs": "", "tests___a__rs": CALL, "benches___b__rs": CALL, "build__rs": CALL},
    ],
)
def test_files_that_no_configuration_compiles(tmp_path, files):
    files = {name: one.replace(CALL, f"fn f() {{ {CALL} }}") for name, one in files.items()}
    featured(tmp_path, "")
    evidence = read(lay(tmp_path, **files))
    assert all(call.dead for call in evidence.calls)
    assert bad(evidence) == set()


@pytest.mark.parametrize(
    "files",
    [
        {"src___lib__rs": "#[cfg(windows)] mod x;", "src___x__rs": CALL},
        {"src___lib__rs": "mod x;", "src___x___mod__rs": "mod y;", "src___x___y__rs": CALL},
        {"src___lib__rs": "mod x;", "src___x__rs": "mod y;", "src___x___y__rs": CALL},
        {"src___lib__rs": "mod a { mod y; }", "src___a___y__rs": CALL},
        {"src___lib__rs": '#[path = "odd/z.rs"] mod x;', "src___odd___z__rs": CALL},
        {"src___lib__rs": '#[cfg_attr(windows, path = "y.rs")] mod x;', "src___y__rs": CALL},
        {"src___lib__rs": 'include!("z.rs");', "src___z__rs": CALL},
        {"src___lib__rs": "all_mods!(x);", "src___x__rs": CALL},
        {"src___lib__rs": "cfg_if! { if #[cfg(unix)] {} else { mod x; } }", "src___x__rs": CALL},
    ],
)
def test_files_that_are_compiled(tmp_path, files):
    files = {name: one.replace(CALL, f"fn f() {{ {CALL} }}") for name, one in files.items()}
    featured(tmp_path, "")
    assert judged(read(lay(tmp_path, **files))) == [("", {0})]


@pytest.mark.parametrize(
    ("script", "dead", "doubt"),
    [
        ('fn main() { println!("cargo:rustc-cfg=odd"); }', False, True),
        ("fn main() { helper::run(); }", False, True),
        ("fn main() { wdk_build::configure_wdk_binary_build().unwrap(); }", True, False),
        (None, True, False),
    ],
)
def test_a_flag_that_a_build_script_may_set_is_not_known(tmp_path, script, dead, doubt):
    featured(tmp_path, f"#[cfg(odd)] fn f() {{ {CALL} }}")
    if script:
        lay(tmp_path, build__rs=script)
    evidence = read(tmp_path)
    (call,) = evidence.calls
    assert (bool(call.dead), "cfg(odd)" in call.doubt) == (dead, doubt)
    report = evaluate(tmp_path, Options())
    assert report.verdict is not Verdict.INCOMPATIBLE
    assert bad(evidence) == ({"execute-pool-type"} if doubt else set())


def test_a_value_under_an_unknown_flag_is_undecided(tmp_path):
    text = "#[cfg(odd)] const K: i32 = 0;\n#[cfg(not(odd))] const K: i32 = 512;\n"
    featured(tmp_path, text + "fn f() { ExAllocatePool(K, 8); }")
    lay(tmp_path, build__rs="fn main() { helper::run(); }")
    assert value_of(read(tmp_path), "ExAllocatePool") == (set(), False)


LIBRARY = '[package]\nname = "helper"\n[features]\nexec = []\ndefault = []\n[dependencies]\n'


@pytest.mark.parametrize(
    ("asks", "is_kept"),
    [
        ('helper = { path = "../helper" }', False),
        ('helper = { path = "../helper", features = ["exec"] }', True),
        ('helper = { path = "../helper", optional = true, features = ["exec"] }', False),
        (
            '[target."cfg(windows)".dependencies]\n'
            'helper = { path = "../helper", features = ["exec"] }',
            True,
        ),
        (
            '[target."cfg(unix)".dependencies]\n'
            'helper = { path = "../helper", features = ["exec"] }',
            False,
        ),
        ("helper = { workspace = true }", True),
        ('helper = { path = "../helper" }\n[features]\ndefault = ["helper/exec"]', True),
        ('helper = { path = "../helper" }\n[features]\nmore = ["helper/exec"]', False),
    ],
)
@pytest.mark.parametrize("kit", ["", WDK])
def test_a_library_has_the_features_that_its_driver_asks_for(tmp_path, asks, is_kept, kit):
    crate(tmp_path / "driver", "fn f() {}", dependencies=f"{WDK}\n{asks}")
    text = f'#[cfg(feature = "exec")] fn f() {{ {CALL} }}'
    lay(tmp_path / "helper", Cargo__toml=LIBRARY + kit, src___lib__rs=text)
    workspace = '[workspace]\nmembers = ["driver", "helper"]\n[workspace.dependencies]\n'
    lay(tmp_path, Cargo__toml=workspace + 'helper = { path = "helper", features = ["exec"] }\n')
    evidence = read(tmp_path)
    assert [not call.dead for call in evidence.calls] in ([is_kept], [] if not is_kept else [True])
    assert bad(evidence) == ({"execute-pool-type"} if is_kept else set())


def test_a_library_of_umdf_drivers_only_says_so(tmp_path):
    crate(tmp_path / "d", "", model="UMDF", dependencies='helper = { path = "../helper" }')
    lay(tmp_path / "helper", Cargo__toml=LIBRARY + WDK, src___lib__rs=f"fn f() {{ {CALL} }}")
    evidence = read(tmp_path)
    assert evidence.calls == ()
    assert any("only UMDF driver crates link this crate" in one.reason for one in evidence.limits)


def test_tests_are_never_counted(tmp_path):
    text = f"""
#[test] fn a() {{ {CALL} }}
#[cfg(test)] mod tests {{ fn b() {{ {CALL} }} }}
#[tokio::test] fn c() {{ {CALL} }}
"""
    evidence = read(featured(tmp_path, text))
    assert {call.dead for call in evidence.calls} == {"only tests compile it"}
    assert not any("not the default" in one.reason for one in evidence.limits)


@pytest.mark.parametrize(
    "text",
    [
        "#[cfg(" + "not(" * 5000 + "a" + ")" * 5000 + ")] fn f() {}",
        "#[cfg(all(,=)] fn f() {}",
        "cfg_if! { if #[cfg(a)] { cfg_if! { } ",
        "".join("const K: i32 = K + K;\n" for _ in range(40)) + "fn f() { ExAllocatePool(K, 1); }",
        'mod lib; mod lib; include!("lib.rs");',
    ],
)
def test_bad_conditions(tmp_path, text):
    read(featured(tmp_path, text))


@pytest.mark.parametrize(("system", "is_kept"), [("windows", True), ("unix", False)])
def test_a_crate_for_another_system_turns_nothing_on(tmp_path, system, is_kept):
    extra = f"""
[features]
default = ["other/more"]
[target."cfg({system})".dependencies]
other = {{ version = "1", optional = true }}
"""
    evidence = read(featured(tmp_path, f'#[cfg(feature = "other")] fn f() {{ {CALL} }}', extra))
    assert bad(evidence) == ({"execute-pool-type"} if is_kept else set())


@pytest.mark.parametrize("optional", [False, True])
def test_a_linked_crate_that_is_missing_is_named(tmp_path, optional):
    more = ", optional = true" if optional else ""
    crate(tmp_path, "fn f() {}", dependencies=f'{WDK}\ngone = {{ path = "gone"{more} }}')
    lost = [one for one in read(tmp_path).limits if "gone/Cargo.toml" in one.reason]
    assert [bool(one.rules) for one in lost] == ([] if optional else [True])
