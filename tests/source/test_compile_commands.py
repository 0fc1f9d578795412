"""compile_commands.json: what a build tool writes down says how files are compiled."""

import json

import pytest

from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read, value_of

POOL = "execute-pool-type"
OPTED = entry(
    "ExInitializeDriverRuntime(DrvRtPoolNxOptIn); ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
)
CHOSEN = "#if CONDITION\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")


def commands(*options, file="d.c", folder="."):
    return json.dumps(
        [{"directory": folder, "file": file, "command": f"cl {one} -c {file}"} for one in options]
    )


@pytest.mark.parametrize(
    ("option", "expected"), [("/DPOOL_NX_OPTIN=1", set()), ("/O2", {POOL, "nx-opt-in"})]
)
def test_the_opt_in_of_a_command(tmp_path, option, expected):
    lay(tmp_path, d__c=OPTED, compile_commands__json=commands(option))
    assert bad(read(tmp_path)) == expected


@pytest.mark.parametrize(
    ("condition", "options", "expected"),
    [
        ("defined(BAD)", ("/DBAD",), True),
        ("defined(BAD)", ("/DGOOD",), False),
        ("defined(BAD)", ("/DGOOD", "-DBAD"), True),
        ("defined(BAD)", ("/DBAD /UBAD",), False),
        ("defined(BAD)", ("/FIbad.h",), True),
        ("defined(_AMD64_)", ("/DGOOD",), True),
        ("defined(_AMD64_)", ("--target=i686-pc-windows-msvc",), False),
        ("defined(_ARM64_) && !defined(_AMD64_)", ("--target=aarch64-windows",), True),
    ],
)
def test_the_definitions_of_a_command(tmp_path, condition, options, expected):
    text = CHOSEN.replace("CONDITION", condition)
    text = text.replace("NonPagedPool\n", "NonPagedPoolExecute\n")
    lay(tmp_path, d__c=text, bad__h="#define BAD\n", compile_commands__json=commands(*options))
    assert (POOL in bad(read(tmp_path))) is expected


def test_arguments_and_folders(tmp_path):
    one = {"directory": "..", "file": "src/d.c", "arguments": ["cl", "-I", "my inc", "src/d.c"]}
    text = "#include <ntddk.h>\n#include <my.h>\n" + CHOSEN.replace("CONDITION", "BAD")
    lay(tmp_path, src___d__c=text, build___compile_commands__json=json.dumps([one]))
    (tmp_path / "my inc").mkdir()
    (tmp_path / "my inc/my.h").write_text("#define BAD 1\n")
    lay(tmp_path, z___my__h="#define BAD 0\n")
    assert POOL in bad(read(tmp_path))


def test_files_that_no_command_names_stay_open(tmp_path):
    both = {"d__c": CHOSEN.replace("CONDITION", "BAD"), "e__c": "int x;\n"}
    lay(tmp_path, **both, compile_commands__json=commands("/DX", file="e.c"))
    assert POOL in bad(read(tmp_path))


@pytest.mark.parametrize("text", ["[", '{"a": 1', "\xff"])
def test_what_cannot_be_read_is_named(tmp_path, text):
    lay(tmp_path, d__c=OPTED, compile_commands__json=text.encode("latin-1"))
    limits = [one for one in read(tmp_path).limits if set(TEXT_RULES) <= set(one.rules)]
    assert ["could not be read" in one.reason for one in limits] == [True]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cl.exe @all.rsp /c driver.c", {0}),
        ('cl.exe @"sub\\more.rsp" /c driver.c', {512}),
        ("cl.exe /c driver.c", {512}),
    ],
)
def test_options_in_a_file_that_a_command_names(tmp_path, command, expected):
    lay(
        tmp_path,
        all__rsp="/DBAD\n",
        sub___more__rsp="/DOTHER\n",
        driver__c=CHOSEN.replace("CONDITION", "BAD"),
    )
    told = [{"directory": str(tmp_path), "file": "driver.c", "command": command}]
    (tmp_path / "compile_commands.json").write_text(json.dumps(told))
    evidence = read(tmp_path)
    assert value_of(evidence, "ExAllocatePoolWithTag") == (expected, True)
    assert not any("could not be read" in one.reason for one in evidence.limits)


def test_a_file_of_options_that_is_not_here(tmp_path):
    lay(tmp_path, driver__c=CHOSEN.replace("CONDITION", "BAD"))
    told = [{"directory": str(tmp_path), "file": "driver.c", "arguments": ["cl", "@gone.rsp"]}]
    (tmp_path / "compile_commands.json").write_text(json.dumps(told))
    reasons = [one.reason for one in read(tmp_path).limits if set(TEXT_RULES) <= set(one.rules)]
    assert ["options in gone.rsp could not be read" in one for one in reasons] == [True]


@pytest.mark.parametrize(("option", "expected"), [("/Yupch.h", {0}), ("/DX", {512})])
def test_what_stands_before_a_precompiled_header(tmp_path, option, expected):
    code = '#define P NonPagedPoolNx\n#include "pch.h"\n' + entry("ExAllocatePoolWithTag(P, 8, 1);")
    lay(tmp_path, driver__c=code, pch__h="#ifndef P\n#define P NonPagedPool\n#endif\n")
    told = [{"directory": str(tmp_path), "file": "driver.c", "command": f"cl {option} driver.c"}]
    (tmp_path / "compile_commands.json").write_text(json.dumps(told))
    assert value_of(read(tmp_path), "ExAllocatePoolWithTag") == (expected, True)
