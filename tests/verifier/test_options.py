"""The syntax of verifier.exe: what is understood, and what is refused by name."""

import pytest

from hvci.errors import UsageError
from hvci.verifier.options import CODE_INTEGRITY, NOT_IMPLEMENTED, STANDARD, Action, parse

DRIVER = ("/driver", "a.sys", "/tmp/b.sys")


@pytest.mark.parametrize(
    "words",
    [
        ("/flags", "0x02000000"),
        ("-FLAGS", "33554432"),
        ("/ruleclasses", "26"),
        ("/rc", "26"),
        ("/dif", "26"),
    ],
)
def test_the_option_can_be_named_in_every_way(words):
    request = parse((*words, *DRIVER))
    assert (request.action, request.flags) == (Action.VERIFY, CODE_INTEGRITY)
    assert request.drivers == ("a.sys", "/tmp/b.sys")


@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("/query", Action.QUERY),
        ("-QuerySettings", Action.QUERY_SETTINGS),
        ("/reset", Action.RESET),
        ("/?", Action.HELP),
        ("-?", Action.HELP),
    ],
)
def test_single_words(word, action):
    assert parse((word,)).action is action


@pytest.mark.parametrize(
    "words",
    [
        ("/flags", "0x021209bb"),
        ("/standard", "/flags", "0x02000000"),
        ("/flags", "0x1209bb", "33554432"),
        ("/standard", "/ruleclasses", "26"),
    ],
)
def test_other_checks_are_accepted_and_named(words):
    request = parse((*words, *DRIVER))
    assert request.flags == CODE_INTEGRITY | STANDARD
    assert request.ignored[0] == "Special pool (0x00000001)"
    assert len(request.ignored) == 9


def test_rule_classes_beyond_the_flags_are_named():
    request = parse(("/rc", "26", "33", "36", *DRIVER))
    assert request.flags == CODE_INTEGRITY
    assert request.ignored == (
        "Driver isolation checks (rule class 33)",
        "DIF verification (rule class 36)",
    )


def test_a_reserved_flag_is_named():
    assert parse(("/flags", "0x82000000", *DRIVER)).ignored == (
        "unused or reserved flags (0x80000000)",
    )


def test_statistics_only():
    words = ("/flags", "0x02000000", "/log.code_integrity", *DRIVER)
    assert parse(words).log_only
    assert not parse(("/flags", "0x02000000", *DRIVER)).log_only


def test_no_word_at_all_prints_the_help():
    assert parse(()).action is Action.HELP


def test_a_log_has_a_file_and_perhaps_an_interval():
    request = parse(("/log", "out.txt", "/interval", "30"))
    assert (request.action, request.log, request.interval) == (Action.LOG, "out.txt", 30)


@pytest.mark.parametrize("word", sorted(NOT_IMPLEMENTED))
def test_options_that_are_not_implemented_are_refused_by_name(word):
    with pytest.raises(UsageError, match=word.replace("?", "[?]")):
        parse((word, *DRIVER))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("/flags", "0x02000000", "/log.code_integrity", "on", *DRIVER), "takes no value"),
        (("/standard", "on", *DRIVER), "takes no value"),
        (("/standard", *DRIVER), "code integrity checks are not among"),
        (("/flags", "-1", *DRIVER), "unknown option"),
        (("/flags", "0x102000000", *DRIVER), "no set of 32 flags"),
        (("/ruleclasses", "70", *DRIVER), "no rule class"),
        (("/flags", "0x02000000", "/interval", "5", *DRIVER), "needs /log"),
        (("/flags", "0x9bb", *DRIVER), "Special pool"),
        (
            ("/ruleclasses", "33", *DRIVER),
            "Driver isolation checks .rule class 33.: not implemented",
        ),
        (("/ruleclasses", *DRIVER), "needs a value"),
        (("/ruleclasses", "1", *DRIVER), "Special pool"),
        (("/flags", "0", *DRIVER), "no option is set"),
        (("/flags", "many", *DRIVER), "no number"),
        (("/flags", "0x02000000"), "name the drivers"),
        (DRIVER, "name the option"),
        (("/flags", "0x02000000", "/driver"), "name the drivers"),
        (("/query", "/reset"), "no further words"),
        (("/nonsense",), "unknown option"),
        (("a.sys",), "no option"),
    ],
)
def test_refusals_say_what_is_wrong(words, message):
    with pytest.raises(UsageError, match=message):
        parse(words)
