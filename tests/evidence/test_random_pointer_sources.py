"""Sources of bench/random_sources.py with `--pointers` that were once judged wrongly.

What runs of the same program did with pointers must not be ruled out, and no more is told.
"""

import json
import shutil
from pathlib import Path

import pytest

from led import judge

FIXTURES = Path(__file__).parent.parent / "fixtures"
PROGRAMS = sorted((FIXTURES / "random_pointer_sources").iterdir())


def answer(folder: Path, program: Path, uses: dict[str, set[int]]):
    for source in program.glob("*.c"):
        shutil.copy(source, folder)
    shutil.copy(FIXTURES / "src" / "kernel.h", folder)
    return judge(folder, uses)


@pytest.mark.parametrize("program", PROGRAMS, ids=[path.name for path in PROGRAMS])
def test_what_runs_did_is_said(tmp_path: Path, program: Path) -> None:
    told = json.loads((program / "received.json").read_text())
    said = answer(tmp_path, program, {use: set(told[use]) for use in told})
    assert (said.problems, said.loud) == ((), False)


def test_a_wrong_answer_would_be_told(tmp_path: Path) -> None:
    program = FIXTURES / "random_pointer_sources" / "p19003"
    assert answer(tmp_path, program, {"called data": {1}}).problems
