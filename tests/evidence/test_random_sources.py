"""Sources of bench/random_sources.py that were once judged wrongly.

What their calls received, when the same program was run many times, must be among what is said.
"""

import json
import shutil
from pathlib import Path

import pytest

from received import answer

FIXTURES = Path(__file__).parent.parent / "fixtures"
PROGRAMS = sorted((FIXTURES / "random_sources").iterdir())


def found(folder: Path, program: Path, received: dict[int, set[int]]):
    for source in program.glob("*.c"):
        shutil.copy(source, folder)
    shutil.copy(FIXTURES / "src" / "kernel.h", folder)
    return answer(folder, received)


@pytest.mark.parametrize("program", PROGRAMS, ids=[path.name for path in PROGRAMS])
def test_an_answer_allows_what_was_received(tmp_path: Path, program: Path) -> None:
    expected = json.loads((program / "received.json").read_text())
    received = {int(tag, 16): set(values) for tag, values in expected.items()}
    said = found(tmp_path, program, received)
    assert (said.problems, said.limits, said.unseen) == ((), (), 0)


@pytest.mark.parametrize("program", PROGRAMS, ids=[path.name for path in PROGRAMS])
def test_a_wrong_answer_would_be_told(tmp_path: Path, program: Path) -> None:
    assert found(tmp_path, program, {0x4242_0001: {0}}).problems
