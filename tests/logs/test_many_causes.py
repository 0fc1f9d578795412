"""Bug checks with many causes: only executions and refused instructions are about us."""

import pytest
from click.testing import CliRunner

from hvci.cli import main
from hvci.logs import gather, join, parse_log
from hvci.report.bugchecks import decode_bugcheck, plain

POOL = 0xFFFFC08A10203040
EXECUTED = "code was to run from memory that is not executable, or not there"


@pytest.mark.parametrize("code", [0xA, 0xD1])
@pytest.mark.parametrize(
    ("parameters", "rule", "unrelated"),
    [
        ((POOL, 2, 8, POOL), "dynamic-code", False),
        ((POOL, 2, 9, POOL), "dynamic-code", False),
        ((0x8A103040, 2, 8, 0x8A103040), "dynamic-code", False),
        ((0, 2, 8, 0), "", True),
        ((0x7FF612345678, 2, 8, 0x7FF612345678), "", True),
        ((POOL, 2, 0, 1), "", True),
        ((POOL, 2, 1, 1), "", True),
        ((POOL, 2), "", False),
        ((), "", False),
    ],
)
def test_at_a_raised_irql(code, parameters, rule, unrelated):
    decoded = decode_bugcheck(code, parameters)
    assert (decoded.rule, decoded.unrelated) == (rule, unrelated)


@pytest.mark.parametrize(
    ("parameters", "rule", "unrelated"),
    [
        ((0xFFFFFFFFC0000005, POOL, 8, POOL), "dynamic-code", False),
        ((0xC0000005, POOL, 8, POOL), "dynamic-code", False),
        ((0xC0000005, 0, 8, 0), "", True),
        ((0xC0000005, 1, 0, POOL), "", True),
        ((0xC0000005, 1, 1, POOL), "", True),
        ((0xC0000005, 1), "", False),
        ((0xC0000096, 1, 0, 0), "writes-executable-memory", False),
        ((0x80000003, 1, 0, 0), "", True),
    ],
)
def test_an_exception_that_nobody_handled(parameters, rule, unrelated):
    decoded = decode_bugcheck(0x1E, parameters)
    assert (decoded.rule, decoded.unrelated) == (rule, unrelated)


@pytest.mark.parametrize("code", [0x3B, 0x7E, 0x8E])
def test_only_the_exception_record_tells_of_the_rest(code):
    parameters = (0xFFFFFFFFC0000005, POOL, 8, 8)  # the last two are addresses of records
    assert "do not tell" in decode_bugcheck(code, parameters).title
    assert decode_bugcheck(code, parameters, (8, POOL)).rule == "dynamic-code"
    assert decode_bugcheck(code, parameters, (0, POOL)).unrelated
    assert decode_bugcheck(code, (0xC0000096, 1)).rule == "writes-executable-memory"


ANALYSIS = """
SYSTEM_THREAD_EXCEPTION_NOT_HANDLED (7e)
Arguments:
Arg1: ffffffffc0000005, The exception code that was not handled
Arg2: ffffc08a10203040, The address that the exception occurred at
Arg3: ffffb20e0b4c7128, Exception Record Address
Arg4: ffffb20e0b4c6960, Context Record Address
"""
RECORDS = {
    "the sentence": ("Attempt to execute non-executable address ffffc08a10203040", EXECUTED),
    "the parameters": (
        "   Parameter[0]: 0000000000000008\n   Parameter[1]: ffffc08a10203040",
        EXECUTED,
    ),
    "what !analyze copies": (
        "EXCEPTION_PARAMETER1:  0000000000000008\nEXCEPTION_PARAMETER2:  ffffc08a10203040",
        EXECUTED,
    ),
    "a read": (
        "   Parameter[0]: 0000000000000000\n   Parameter[1]: ffffc08a10203040",
        "memory was read or written",
    ),
    "half a record": ("   Parameter[0]: 0000000000000008", "do not tell"),
    "none": ("", "do not tell"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_in_an_analysis(name):
    text, words = RECORDS[name]
    (crash,) = join(parse_log(ANALYSIS + text), [])
    assert words in crash.title


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("BugCheck 1000007E, {c0000096, fffff80112341025, 1, 2}", "refused an instruction"),
        ("BugCheck 100000D1, {ffffc08a10203040, 2, 8, ffffc08a10203040}", EXECUTED),
        ("BugCheck 10000050, {ffffc08a10203040, 11, ffffc08a10203040, 2}", "0x50"),
    ],
)
def test_small_dumps_add_a_bit_to_the_code(line, words):
    (crash,) = join(parse_log(line), [])
    assert words in crash.title


def test_that_bit_of_other_codes_is_theirs():
    assert plain(0x1000007F) == 0x1000007F
    assert plain(0x100000FC) == 0xFC


def test_a_log_of_other_bug_checks_claims_no_more_than_is_known(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("BugCheck 9F, {3, 1, 2, 3}", encoding="utf-8")
    result = CliRunner().invoke(main, ["import-log", str(log)])
    assert result.exit_code == 4
    assert "only bug check 0x9f in this log, which memory integrity is not known" in result.output


def test_none_of_them_is_a_refusal():
    """They have other causes: the log alone puts no driver on the list of refused ones."""
    text = "BugCheck D1, {ffffc08a10203040, 2, 8, ffffc08a10203040}\nIMAGE_NAME:  driver.sys"
    assert gather([text.encode()]).seen == ()


ROWS = {
    "commas": "a.dmp,12/1/2026 9:00:00 AM,,0x000000fc,fffff806`19808811,80000000`6c036121,"
    "fffff806`4a533004,00000000`00000000,bar.sys,bar.sys+43004",
    "tabs and apostrophes": "a.dmp\t01.12.2026 09:00:00\t\t0x000000fc\tfffff806'19808811\t"
    "80000000'6c036121\tfffff806'4a533004\t00000000'00000000\tbar.sys\tbar.sys+43004",
    "quotes": '"a.dmp","01.12.2026","","0x000000fc","fffff806`19808811","80000000`6c036121",'
    '"fffff806`4a533004","00000000`00000000","bar.sys"',
}


@pytest.mark.parametrize("name", ROWS)
def test_a_list_of_small_dumps(name):
    (crash,) = parse_log(ROWS[name]).entries
    assert (crash.code, crash.driver, crash.parameters[:2]) == (
        0xFC,
        "bar.sys",
        (0xFFFFF80619808811, 0x800000006C036121),
    )


def test_rows_of_such_a_list_are_bug_checks_of_their_own():
    other = ROWS["commas"].replace("bar", "foo").replace("fffff806`19", "fffff806`20")
    found = parse_log(f"{ROWS['commas']}\n{other}").entries
    assert [one.driver for one in found] == ["bar.sys", "foo.sys"]
