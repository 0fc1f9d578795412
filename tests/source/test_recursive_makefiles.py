"""What makefiles get from those that run make in their folder, and what compilers read besides."""

import pytest

from sources import bad, entry, lay, read

POOL = {"execute-pool-type"}
CODE = "#ifdef BAD\n#define P NonPagedPool\n#else\n#define P NonPagedPoolNx\n#endif\n"
CODE += entry("ExAllocatePoolWithTag(P, 8, 'a');")
INNER = "d.sys: d.o\n\t$(CC) -shared -Wl,--subsystem,native -o $@ $^ -lntoskrnl\n"
INNER += "%.o: %.c\n\t$(CC) $(CFLAGS) -c $<\n"
OWN = "CFLAGS = -O2\n" + INNER


@pytest.mark.parametrize(
    ("outer", "alone", "over_own"),
    [
        ("export CFLAGS = -DBAD\nall:\n\t$(MAKE) -C s\n", True, False),
        ("CFLAGS = -DBAD\nexport OTHER CFLAGS\nall:\n\t${MAKE} --directory=s all\n", True, False),
        ("F = -DBAD\nCFLAGS = $(F)\nexport\nall:\n\t@cd s && $(MAKE)\n", True, False),
        ("CFLAGS = -DBAD\nall:\n\t$(MAKE) -C s\n", False, False),
        ("export CFLAGS = -DGOOD\nall:\n\t$(MAKE) -C s\n", False, False),
        ("export CFLAGS = -DBAD\nall:\n\t$(MAKE) -C other\n", False, False),
        ('all:\n\t$(MAKE) -C s CFLAGS="-O2 -DBAD"\n', True, True),
        ("F = -DBAD\nall:\n\tfor d in r s; do $(MAKE) -C $$d CFLAGS=$(F); done\n", True, True),
        ("all:\n\t$(MAKE) -C s OTHER=-DBAD\n", False, False),
    ],
)
@pytest.mark.parametrize("asked", ["", "s", "s/Makefile", "s/d.c"])
def test_what_make_hands_down(tmp_path, outer, alone, over_own, asked):
    lay(tmp_path, Makefile=outer, s___d__c=CODE)
    for text, expected in ((INNER, alone), (OWN, over_own)):
        lay(tmp_path, s___Makefile=text)
        assert bad(read(tmp_path / asked)) == (POOL if expected else set())


@pytest.mark.parametrize("levels", [1, 3, 4])
def test_from_how_far_above(tmp_path, levels):
    folder = "/".join("abcd"[:levels])
    lay(tmp_path, Makefile=f"export CFLAGS = -DBAD\nall:\n\t$(MAKE) -C {folder}\n")
    lay(tmp_path, **{f"{folder.replace('/', '___')}___d__c": CODE})
    (tmp_path / folder / "Makefile").write_text(INNER)
    assert bad(read(tmp_path)) == (POOL if levels <= 3 else set())


MSVC = "{0}d.sys: d.obj\n\tlink /driver /out:d.sys d.obj\nd.obj: d.c\n{1}\tcl /nologo /c d.c\n"


@pytest.mark.parametrize(
    ("before", "rule", "is_bad"),
    [
        ("export CL = /DBAD\n", "", True),
        ("export _CL_=/DBAD\n", "", True),
        ("", "\tset CL=/DBAD\n", True),
        ("", "\t@set CL=/DOTHER /DBAD\n", True),
        ("export CL = /DOTHER\n", "", False),
        ("", "\tset CLEAN=/DBAD\n", False),
        ("CFLAGS = /DBAD\n", "", False),
    ],
)
def test_what_the_compiler_reads_by_itself(tmp_path, before, rule, is_bad):
    evidence = read(lay(tmp_path, makefile=MSVC.format(before, rule), d__c=CODE))
    assert bad(evidence) == (POOL if is_bad else set())


def test_the_compiler_is_no_variable_that_may_define_something(tmp_path):
    evidence = read(lay(tmp_path, Makefile=INNER, d__c=CODE))
    assert not any("$(CC)" in one.reason for one in evidence.limits)
