"""What decides about an opt-in to NX: a version of Windows, chance, or a failure to load."""

import pytest

from flowtext import Text, told

VARIABLE, OTHER = 0x3100, 0x3200
NX = f"[image+{VARIABLE:#x}]:4 = 0x200"
READ = "user:\nx9 = load [image+0x3100]:4\ncall import Use\nret"
GOOD = "x0 = 0\nret"
BAD = "x0 = 0xC0000001\nret"
OPT_IN, CHANCE = {"0x0 before the opt-in", 0x200}, {0, 0x200}


def asked(program, data=None):
    """What other code reads of the variable; what is told of a result is a call's."""
    text = Text(f"entry:\n{program}\n{READ}", data, taken=["user"])
    return told(text.before("call import Use", 9))


def only_if(sign, value, name, more=""):
    """Opts in behind an answer, and loads either way."""
    skipped = {"==": "!=", "!=": "==", "<": ">=", ">=": "<"}[sign]
    call = f"call {name}\n{more}\nif x0 {skipped} {value} goto .on\n{NX}\n.on:"
    return f"{call}\ncall import Other\n{GOOD}"


@pytest.mark.parametrize(
    "name", ["KeGetCurrentIrql", "ZwOpenKey", "IoCreateDevice", "RtlQueryRegistryValues"]
)
def test_an_answer_that_is_no_version_is_chance(name):
    assert asked(only_if("==", "0", f"import {name}")) == CHANCE


@pytest.mark.parametrize(
    "name",
    [
        *("RtlGetVersion", "IoIsWdmVersionAvailable", "RtlVerifyVersionInfo", "VendorAsks"),
        *("MmGetSystemRoutineAddress", "ZwQuerySystemInformation", "RtlCompareMemory"),
    ],
)
def test_an_answer_that_may_tell_the_version_counts(name):
    assert asked(only_if("==", "0", f"import {name}")) == OPT_IN


def test_a_registry_value_may_be_the_version():
    name = "CurrentVersion\0".encode("utf-16-le")
    text = {0x3300 + 4 * n: int.from_bytes(name[4 * n : 4 * n + 4], "little") for n in range(8)}
    program = only_if("==", "0", "import ZwQueryValueKey")
    assert asked(program) == CHANCE
    assert asked(program, text) == OPT_IN


def test_what_only_a_failing_driver_skips_counts():
    program = f"call import ZwOpenKey\nif x0 < 0 goto .failed\n{NX}\n.failed:\n"
    assert asked(f"{program}call import ZwClose\n{BAD}") == OPT_IN
    assert asked(f"{program}call import ZwClose\n{GOOD}") == CHANCE


def test_the_status_that_is_asked_about_is_that_of_a_failure():
    program = (
        f"call import ZwOpenKey\nx9 = x0\nif x9 {{}} 0 goto .on\n{NX}\n.on:\ncall import ZwClose"
    )
    assert asked(f"{program.format('<')}\nx0 = x9\nret") == OPT_IN
    assert asked(f"{program.format('>=')}\nx0 = x9\nret") == CHANCE


def test_a_function_that_fails_lets_nothing_load_where_its_caller_asks():
    own = f"own:\ncall import ZwOpenKey\nif x0 < 0 goto .out\n{NX}\nx0 = 0\n.out:\nret"
    assert asked(f"call own\nif x0 < 0 goto .bad\n{GOOD}\n.bad:\n{BAD}\n{own}") == OPT_IN
    assert asked(f"call own\ncall import Other\n{GOOD}\n{own}") == CHANCE


def test_an_own_answer_is_what_it_is_made_of():
    own = "own:\ncall import {}\nif x0 == 7 goto .yes\nx0 = 0\nret\n.yes:\nx0 = 1\nret"
    for name, expected in (("KeGetCurrentIrql", CHANCE), ("RtlGetVersion", OPT_IN)):
        assert asked(f"{only_if('!=', '0', 'own')}\n{own.format(name)}") == expected


def test_a_variable_tells_what_is_put_into_it():
    keep = f"[image+{OTHER:#x}]:4 = x0\nx0 = load [image+{OTHER:#x}]:4"
    assert asked(only_if("!=", "0", "import KeGetCurrentIrql", keep)) == CHANCE
    assert asked(only_if("!=", "0", "import RtlGetVersion", keep)) == OPT_IN


def test_a_variable_tells_what_writes_into_it():
    keep = f"x0 = load [image+{OTHER:#x}]:4"
    for name, expected in (("ZwQueryValueKey", CHANCE), ("PsGetVersion", OPT_IN)):
        program = only_if("!=", "0", f"import {name}", keep)
        assert asked(f"x0 = address [image+{OTHER:#x}]\n{program}") == expected


def test_a_local_variable_tells_what_writes_into_it():
    keep = "x0 = load [sp-32]:4"
    for name, expected in (("ZwQueryValueKey", CHANCE), ("PsGetVersion", OPT_IN)):
        program = only_if("!=", "0", f"import {name}", keep)
        assert asked(f"x0 = address [sp-32]\n{program}") == expected


def test_a_choice_of_values_is_one_by_its_condition():
    for name, expected in (("KeGetCurrentIrql", CHANCE), ("RtlGetVersion", OPT_IN)):
        chosen = "x9 = 0\nif x0 == 0 goto .on\nx9 = 0x200\n.on:"
        store = f"[image+{VARIABLE:#x}]:4 = x9"
        assert asked(f"call import {name}\n{chosen}\n{store}\n{GOOD}") == expected
