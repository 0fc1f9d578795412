"""Makefiles and Meson files of several images, with what they include, and what is not followed."""

import pytest

from clock import Clock
from hvci.evaluate import Options, evaluate_drivers
from hvci.model import Answer, Question
from hvci.model.judged import TEXT_RULES
from sources import bad, entry, lay, read

GOOD = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")
BAD = "#include <ntddk.h>\nPVOID F(void) { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }\n"
LINK = "{0}.sys: {1}\n\tgcc -shared -Wl,--subsystem,native -o {0}.sys {1} -lntoskrnl\n"
ONE = LINK.format("a", "$(OBJS)")


def weighing(evidence):
    """The reasons that leave open what the code asks for."""
    return [limit.reason for limit in evidence.limits if set(TEXT_RULES) <= set(limit.rules)]


def asked(folder, makefile, **files):
    lay(folder, **{"Makefile": makefile, "good__c": GOOD, "bad__c": BAD} | files)
    return read(folder)


def answers(folder):
    """What each driver of a folder would do in the readiness test."""
    reports = evaluate_drivers(folder, Options())
    return {one.target.path.rpartition("#")[2]: one.answers[Question.READINESS] for one in reports}


NAMED = [
    "OBJS = good.o\ninclude more.mk\n",
    "TOP = .\nOBJS = good.o\n-include $(TOP)/more.mk\n",
    "SRCS = bad.c\nOBJS = good.o $(SRCS:%.c=obj/%.o)\n",
    "SRCS = bad.c\nOBJS = good.o $(patsubst %.c,obj/%.o,$(SRCS))\n",
    "OBJS = good.o $(foreach d,. sub,$(wildcard $(d)/bad.c))\n",
    "OBJS = good.o $(subst .x,.o,bad.x)\n",
    "OBJS = $(filter-out more%,good.o bad.o more.o)\n",
    "OBJS = $(addsuffix .o,$(basename good.c bad.c))\n",
    "OBJS = good.o @args.txt\n",
    "VPATH = sub\nOBJS = good.o other.o\n",
    "SRCS = $(wildcard $(CURDIR)/b*.c)\nOBJS = good.o $(SRCS:.c=.o)\n",
    "TOP := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))\nOBJS = good.o $(wildcard $(TOP)b*.c)\n",
    "OBJS = good.o deep.o\n",
]


@pytest.mark.parametrize("lists", NAMED)
def test_a_source_that_is_named(tmp_path, lists):
    more = {"more__mk": "OBJS += bad.o\n", "args__txt": "bad.c\n"}
    lay(tmp_path, sub___other__c=BAD, sub___more___deep__c=BAD)
    evidence = asked(tmp_path, lists + ONE, **more)
    assert "execute-pool-type" in bad(evidence)
    assert weighing(evidence) == []


LOST = [
    ("OBJS = good.o $(wildcard /gone/*.c)\n", "$(wildcard /gone/*.c"),
    ("OBJS = good.o $(wordlist 1,2,$(wildcard *.c))\n", "$(wordlist"),
    ("OBJS = good.o\ninclude ../gone/more.mk\n", "include ../gone/more.mk"),
    ("OBJS = good.o $(shell find . -name '*.c')\n", "$(shell find"),
    ("OBJS = good.o obj/gone.o\n", "obj/gone.o"),
    ("OBJS = good.o gone.c\n", "gone.c"),
    ("OBJS = good.o @gone.txt\n", "@gone.txt"),
]


@pytest.mark.parametrize(("lists", "told"), LOST)
def test_what_is_not_here_or_not_followed_is_named(tmp_path, lists, told):
    reasons = weighing(asked(tmp_path, lists + ONE))
    assert [told in reason for reason in reasons] == [True]


CLEAR = [
    "OBJS = good.o\n-include $(OBJS:.o=.d)\n",
    "OBJS = good.o\n-include config.mk\n",
    "OBJS = good.o\nV = $(shell git describe)\n",
    "OBJS = good.o\nclean:\n\trm -f old.o *.o\n",
    "OBJS = good.o\n.c.obj:\n\tcl /c $<\n",
]


@pytest.mark.parametrize("lists", CLEAR)
def test_what_names_no_source_weighs_nothing(tmp_path, lists):
    assert weighing(asked(tmp_path, lists + ONE)) == []


def test_assembly_of_a_makefile_is_looked_at(tmp_path):
    text = "OBJS = good.o low.o\n" + ONE
    reasons = weighing(asked(tmp_path, text, low__S=" call ExAllocatePoolWithTag\n"))
    assert ["assembly uses ExAllocatePoolWithTag" in reason for reason in reasons] == [True]


def test_an_object_without_source_is_examined(tmp_path):
    reasons = weighing(asked(tmp_path, "OBJS = good.o blob.o\n" + ONE, blob__o=b"?" * 40))
    assert ["blob.o: not all of its code was examined" in reason for reason in reasons] == [True]


BAD_DRIVER = BAD + entry("F();")
SEVERAL = (
    "all: a.sys b.sys tool.exe\n" + LINK.format("a", "good.o") + LINK.format("b", "bad.o lib.a")
)
SEVERAL += "lib.a: lib.o\n\tar rcs lib.a lib.o\ntool.exe: tool.c\n\tgcc -o tool.exe tool.c\n"


def test_each_driver_has_its_own_sources(tmp_path):
    lay(tmp_path, Makefile=SEVERAL, good__c=GOOD, bad__c=GOOD, lib__c=BAD, tool__c=BAD)
    assert answers(tmp_path) == {"a.sys": Answer.YES, "b.sys": Answer.NO}
    assert answers(tmp_path / "Makefile") == {"a.sys": Answer.YES, "b.sys": Answer.NO}


def test_what_no_image_is_said_to_hold_counts_for_each_driver(tmp_path):
    text = SEVERAL + "more.o: more.c\n"
    lay(tmp_path, Makefile=text, good__c=GOOD, bad__c=GOOD, lib__c=GOOD, tool__c=BAD, more__c=BAD)
    assert answers(tmp_path) == {"a.sys": Answer.NO, "b.sys": Answer.NO}


MESON = """project('x', 'c')
srcs = ['good.c']
tool_srcs = files('tool.c')
subdir('src')
shared_library('a', srcs, name_suffix: 'sys', link_args: ['-Wl,--subsystem,native'])
executable('tool', tool_srcs)
"""


def test_meson_folders_and_programs(tmp_path):
    lay(tmp_path, meson__build=MESON, good__c=GOOD, tool__c=BAD)
    assert ["src/meson.build" in one for one in weighing(read(tmp_path))] == [True]
    lay(tmp_path, src___meson__build="srcs += files('more.c')\n", src___more__c=GOOD)
    evidence = read(tmp_path)
    assert (bad(evidence), weighing(evidence)) == (set(), [])
    lay(tmp_path, src___more__c=BAD)
    assert "execute-pool-type" in bad(read(tmp_path))


def test_meson_sources_that_a_program_tells(tmp_path):
    text = MESON.replace("['good.c']", "run_command('ls').stdout().split()")
    lay(tmp_path, meson__build=text.replace("subdir('src')\n", ""), good__c=GOOD, tool__c=GOOD)
    assert ["run_command" in reason for reason in weighing(read(tmp_path))] == [True]


CHOSEN = "#ifdef SAFE\n#define P NonPagedPoolNx\n#else\n#define P NonPagedPool\n#endif\n"
CHOSEN += entry("ExAllocatePoolWithTag(P, 8, 'a');")
OBJECT = "OBJS = d.o\n"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ("CFLAGS = -DSAFE\n", False),
        ("CFLAGS = -O2\nifdef DEBUG\nCFLAGS += -DSAFE\nendif\n", True),
        ("ifeq ($(A),1)\nCFLAGS = -DSAFE\nelse\nCFLAGS = -DSAFE -g\nendif\n", False),
        ("ifeq ($(A),1)\nCFLAGS = -DSAFE\nelse ifeq ($(A),2)\nCFLAGS = -g\nendif\n", True),
        ("ifdef A\nifdef B\nCFLAGS = -DSAFE\nendif\nendif\n", True),
        ("!if $(A)\nCFLAGS = -DSAFE\n!else\nCFLAGS = -O\n!endif\n", True),
        ("a.sys: CFLAGS += -DSAFE\n", False),
        ("%.o: export CFLAGS = -DSAFE\n", False),
    ],
)
def test_definitions_under_a_condition(tmp_path, lists, expected):
    """Each branch may be the one that a build takes."""
    evidence = asked(tmp_path, lists + OBJECT + ONE, d__c=CHOSEN)
    assert ("execute-pool-type" in bad(evidence)) is expected


def test_a_branch_is_a_configuration_of_its_own(tmp_path):
    lists = "ifdef DEBUG\nCFLAGS += -DSAFE\nendif\n" + OBJECT + ONE
    (call,) = (one for one in asked(tmp_path, lists, d__c=CHOSEN).calls if not one.dead)
    unsafe = {label for label, value in call.builds if 0 in value.possible}
    assert unsafe == {"x64 (other branches)", "x86 (other branches)"}


@pytest.mark.parametrize(
    "option", ["-D'P=NonPagedPool'", '-DP="NonPagedPool"', '"-DP=NonPagedPool"', "-DP=NonPagedPool"]
)
def test_definitions_in_quotes(tmp_path, option):
    text = entry("ExAllocatePoolWithTag(P, 8, 'a');")
    evidence = asked(tmp_path, f"CFLAGS = {option}\n{OBJECT}{ONE}", d__c=text)
    assert "execute-pool-type" in bad(evidence)


def test_definitions_of_meson_under_a_condition(tmp_path):
    text = "project('x', 'c')\nargs = []\nif get_option('safe')\n  args += ['-DSAFE']\nendif\n"
    text += "shared_library('a', 'd.c', name_suffix: 'sys', c_args: args)\n"
    lay(tmp_path, meson__build=text, d__c=CHOSEN)
    assert "execute-pool-type" in bad(read(tmp_path))
    lay(tmp_path, meson__build=text.replace("if get_option('safe')\n", "").replace("endif\n", ""))
    assert "execute-pool-type" not in bad(read(tmp_path))


def test_more_branches_than_are_looked_at(tmp_path):
    lists = "".join(f"ifdef A{at}\nCFLAGS += -DX{at}\nendif\n" for at in range(20))
    reasons = weighing(asked(tmp_path, lists + "OBJS = good.o\n" + ONE))
    assert ["more than 16 conditional branches" in one for one in reasons] == [True]


def test_a_makefile_that_is_too_large(tmp_path):
    text = f"OBJS = good.o\n{ONE}" + "# remark\n" * 130_000
    with Clock() as clock:
        reasons = weighing(asked(tmp_path, text))
    assert clock.seconds < 10
    assert ["behind its first 1048576 bytes" in one for one in reasons] == [True]


COMPILES = "OBJS = good.o\n%.o: %.c\n\tgcc {} -c $< -o $@\n"
OUTSIDE = {
    "definitions": ("", "-O2 $(EXTRA_DEFS)", "$(EXTRA_DEFS) may hold definitions"),
    "through a variable": ("FLAGS = -O2 ${EXTRA}\n", "$(FLAGS)", "$(EXTRA) may hold definitions"),
    "value of a macro": ("", "-DKIND=$(POOL)", "$(POOL) may hold the value of KIND"),
}
SET_OR_USUAL = {
    "set": ("EXTRA_DEFS = -DX\n", "$(EXTRA_DEFS)"),
    "default": ("EXTRA_DEFS ?= -DX\n", "$(EXTRA_DEFS)"),
    "flags": ("", "$(CFLAGS) $(CPPFLAGS) $(TARGET_ARCH)"),
    "folder": ("", "-I$(DDK_INC_PATH) -I$(WDK_ROOT)/inc"),
    "of no compiler": ("all:\n\techo $(EXTRA_DEFS)\n", ""),
    "value of a macro that no file reads": ("", "-DOTHER=$(NUMBER)"),
}
KIND = entry("ExAllocatePoolWithTag(KIND, 8, 'a');")


@pytest.mark.parametrize("shape", OUTSIDE)
def test_what_only_the_environment_sets_is_named(tmp_path, shape):
    first, flags, told = OUTSIDE[shape]
    text = first + COMPILES.format(flags) + ONE
    assert any(told in one for one in weighing(asked(tmp_path, text, good__c=KIND)))


@pytest.mark.parametrize("shape", SET_OR_USUAL)
def test_what_is_set_or_usual_is_not(tmp_path, shape):
    first, flags = SET_OR_USUAL[shape]
    text = COMPILES.format(flags) + ONE + first
    assert not any("nothing here sets it" in one for one in weighing(asked(tmp_path, text)))


GCC = "\tgcc -shared -Wl,--subsystem,native -o $@ $^ -lntoskrnl\n"
DECIDED = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CHOICE = DECIDED + entry("ExAllocatePoolWithTag(P, 8, 'a');")
OTHER = DECIDED + BAD.replace("NonPagedPool", "P")
BOTH = "all: a.sys b.sys\na.sys: a/d.o\n" + GCC + "b.sys: b/d.o\n" + GCC


@pytest.mark.parametrize(
    "rules",
    [
        "a/%.o: a/%.c\n\tgcc -c $< -o $@\nb/%.o: b/%.c\n\tgcc -DBAD -c $< -o $@\n",
        "%.o: %.c\n\tgcc $(CFLAGS) -c $< -o $@\nb.sys: CFLAGS += -DBAD\n",
        "%.o: %.c\n\tgcc $(CFLAGS) -c $< -o $@\nb/d.o: CFLAGS += -DBAD\n",
        "%.o: %.c\n\tgcc -c $< -o $@\nb/d.o: b/d.c\n\tgcc -DBAD -c $< -o $@\n",
    ],
)
def test_a_pattern_makes_what_its_driver_needs(tmp_path, rules):
    lay(tmp_path, Makefile=BOTH + rules, a___d__c=CHOICE, b___d__c=CHOICE)
    assert answers(tmp_path) == {"a.sys": Answer.YES, "b.sys": Answer.NO}


def test_options_of_a_rule_for_all_files_are_those_of_each_driver(tmp_path):
    rules = ".c.o:\n\tgcc -DBAD -c $< -o $@\n"
    lay(tmp_path, Makefile=BOTH + rules, a___d__c=CHOICE, b___d__c=CHOICE)
    assert answers(tmp_path) == {"a.sys": Answer.NO, "b.sys": Answer.NO}


OF_ONE = "d.sys: d.o e.o\n" + GCC + "{0}%.o: %.c\n\tgcc {1} $(CFLAGS) -c $< -o $@\n"


@pytest.mark.parametrize(
    ("rules", "failing"),
    [
        (OF_ONE.format("e.o: CFLAGS += -DBAD\n", ""), {"e.c"}),
        (OF_ONE.format("e.o: e.c\n\tgcc -DBAD -c $< -o $@\n", ""), {"e.c"}),
        (OF_ONE.format("e.o: e.c\n\tgcc -c $< -o $@\n", "-DBAD"), {"d.c"}),
        (OF_ONE.format("obj/x.o: CFLAGS += -DBAD\n", ""), set()),
        (OF_ONE.format("d.o e.o: CFLAGS += -DBAD\n", ""), {"d.c", "e.c"}),
        ("CFLAGS = -DBAD\n" + OF_ONE.format("e.o: e.h\n", ""), {"d.c", "e.c"}),
    ],
)
def test_options_of_one_object_are_those_of_its_source(tmp_path, rules, failing):
    lay(tmp_path, Makefile=rules, d__c=CHOICE, e__c=OTHER)
    evidence = read(tmp_path)
    calls = [call for call in evidence.calls if 0 in call.arguments["PoolType"].possible]
    assert {call.site.path.rpartition("/")[2] for call in calls} == failing


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("$(shell cat defs)", ["$(shell cat defs) may hold definitions"]),
        ("-DBAD=$(shell cat defs)", ["$(shell cat defs) may hold the value of BAD"]),
        ("-DOTHER=$(shell git describe)", []),
        ("-I$(shell pwd)/include", []),
    ],
)
def test_what_a_program_prints_into_options(tmp_path, value, told):
    rules = f"DEFS = {value}\nd.sys: d.o\n{GCC}d.o: d.c\n\tgcc $(DEFS) -c $< -o $@\n"
    lay(tmp_path, Makefile=rules, d__c=CHOICE)
    reasons = weighing(read(tmp_path))
    assert [one in reason for one, reason in zip(told, reasons, strict=True)] == [True] * len(told)


def test_arguments_of_meson_that_close_a_call(tmp_path):
    text = "project('p', 'c')\nx = declare_dependency(compile_args:'-DBAD')\n"
    text += "shared_library('d', 'd.c', name_suffix: 'sys', dependencies: x)\n"
    lay(tmp_path, meson__build=text, d__c=CHOICE)
    assert "execute-pool-type" in bad(read(tmp_path))


GNU = "CC = x86_64-w64-mingw32-gcc\n"
WAYS = "%.o: %.c\n\t$(CC) {} -c -o $@ $<\n"


@pytest.mark.parametrize(
    ("lists", "is_bad"),
    [
        ("CFLAGS = -DSAFE\n", False),
        ("CFLAGS = -DSAFE\n" + WAYS.format("-O2"), True),
        ("CFLAGS = -DSAFE\n" + WAYS.format("$(CFLAGS)"), False),
        ("MORE = -DSAFE\n" + WAYS.format("$(CFLAGS)"), True),
        ("CFLAGS = -DSAFE\nd.o: d.c\n\t$(CC) -c d.c\n", True),
        ("CFLAGS = -DSAFE\n.c.o:\n\t$(CC) -c $<\n", True),
        ("A := $(CFLAGS)\nCFLAGS := -DSAFE\n" + WAYS.format("$(A)"), True),
        ("A = $(CFLAGS)\nCFLAGS := -DSAFE\n" + WAYS.format("$(A)"), False),
        ("CFLAGS := -DSAFE\nCFLAGS := $(CFLAGS) -O2\n" + WAYS.format("$(CFLAGS)"), False),
        ("CFLAGS = @options\n", False),
        ('!IF "$(KIND)"=="1"\nCFLAGS = -O2\n!ELSEIF 1\nCFLAGS = -DSAFE\n!ENDIF\n', True),
        ('!IF "$(KIND)"=="1"\nCFLAGS = -DSAFE\n!ELSE\nCFLAGS = -DSAFE -g\n!ENDIF\n', False),
    ],
)
def test_options_that_a_rule_asks_for(tmp_path, lists, is_bad):
    lay(tmp_path, Makefile=GNU + lists + OBJECT + ONE, d__c=CHOSEN, options="-DSAFE\n")
    assert bool(bad(read(tmp_path))) is is_bad


def test_what_a_program_prints_for_rules_that_make_has(tmp_path):
    lay(tmp_path, Makefile=GNU + "CFLAGS = $(shell cat options)\n" + OBJECT + ONE, d__c=GOOD)
    assert any("$(shell cat options)" in one for one in weighing(read(tmp_path)))
    rule = "CFLAGS = $(shell cat options)\n" + WAYS.format("-O2")
    lay(tmp_path, Makefile=GNU + rule + OBJECT + ONE)
    assert not weighing(read(tmp_path))
