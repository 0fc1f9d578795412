"""Where the tests keep their files, for tests in folders of any depth."""

from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
