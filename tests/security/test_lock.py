"""The lock file names every package that the project asks for, each with hashes, and no host."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BILL = json.loads((ROOT / "sbom.cdx.json").read_text(encoding="utf-8"))
EXTRAS = ("packages", "evtx", "fleet", "parquet", "web", "disks")


def pins():
    blocks = re.split(r"\n(?=[\w.-]+==)", LOCK)[1:]
    return {block.partition("==")[0]: block for block in blocks}


def test_every_package_has_a_hash():
    assert len(pins()) > 12
    for name, block in pins().items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name


def test_every_requirement_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    wanted += (one for name in EXTRAS for one in project["optional-dependencies"].get(name, ()))
    named = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in wanted}
    assert named <= pins().keys()


def test_no_registry_is_named():
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_the_bill_of_materials_is_that_of_the_lock():
    assert BILL["bomFormat"] == "CycloneDX"
    parts = {part["name"]: part for part in BILL["components"]}
    assert parts.keys() == pins().keys()
    for name, part in parts.items():
        assert pins()[name].startswith(f"{name}=={part['version']} ")
        assert part["purl"] == f"pkg:pypi/{name}@{part['version']}"
        assert all(one["content"] in pins()[name] for one in part["hashes"])
