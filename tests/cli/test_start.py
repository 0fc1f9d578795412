"""What a check of one driver loads: a part that it does not need costs each start."""

import subprocess
import sys

import pytest

from here import FIXTURES

SHARED = {"hvci.binary.behaviour.arm64", "hvci.binary.behaviour.arm64.words"}
"""Where the parts for ARM64 are loaded from when they are asked for."""
NEVER = ("sqlalchemy", "tree_sitter", "unicorn", "hvci.source.program", "hvci.packages.inf")
LISTED = (
    "import sys\n"
    "from hvci.cli import main\n"
    "sys.argv = ['hvci', 'check', sys.argv[1]]\n"
    "try:\n"
    "    main()\n"
    "except SystemExit:\n"
    "    print('\\nloaded', *sys.modules)\n"
)


def loaded(machine):
    driver = FIXTURES / "flow" / f"farfield.{machine}-O2.sys"
    done = subprocess.run(
        [sys.executable, "-c", LISTED, driver], capture_output=True, text=True, timeout=120
    )
    assert "for information" in done.stdout.lower(), done.stderr
    return set(done.stdout.rpartition("\nloaded ")[2].split())


@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_the_parts_for_arm64_are_loaded_for_an_arm64_driver_only(machine):
    parts = {name for name in loaded(machine) if "arm64" in name.split(".") and "hvci" in name}
    assert parts <= SHARED


def test_one_driver_loads_nothing_of_sources_packages_and_fleets():
    assert not [name for name in loaded("x64") if name.startswith(NEVER)]
