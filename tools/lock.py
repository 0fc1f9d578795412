"""Write requirements.lock and sbom.cdx.json: what hvci needs, with hashes of the wheels.

    python tools/lock.py

Asks pip for the wheels of each platform and Python that is supported, all with the same versions;
a package that has none for one of them is named. The bill of materials is CycloneDX 1.5.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK, SBOM = ROOT / "requirements.lock", ROOT / "sbom.cdx.json"
EXTRAS = ("packages", "evtx", "fleet", "parquet", "web", "disks")
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (
    ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"),
    ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    ("win_amd64",),
    ("macosx_11_0_arm64", "macosx_10_12_universal2", "macosx_10_9_universal2"),
)
HEAD = """\
# Every package that hvci needs, with its extras, and the hashes of its wheels.
# Written by tools/lock.py. Install: pip install --require-hashes -r requirements.lock
"""


def wanted() -> list[str]:
    """The requirements of the project and of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(one for name in EXTRAS for one in extras.get(name, ()))]


def resolved(platforms: tuple[str, ...], python: str, pins: dict[str, str]) -> list[dict[str, Any]]:
    """What pip would install there, with the versions that are settled already."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "in").write_text("\n".join(wanted()))
        (place / "pins").write_text("".join(f"{name}=={which}\n" for name, which in pins.items()))
        words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q"]
        words += ["--only-binary=:all:", "--target", folder, "--python-version", python]
        words += [word for one in platforms for word in ("--platform", one)]
        words += ["-r", str(place / "in"), "-c", str(place / "pins")]
        subprocess.run([*words, "--report", str(place / "out")], check=True)
        return json.loads((place / "out").read_text())["install"]


def main() -> int:
    pins: dict[str, str] = {}
    hashes: dict[str, set[str]] = {}
    about: dict[str, dict[str, Any]] = {}
    for platforms in PLATFORMS:
        for python in PYTHONS:
            try:
                found = resolved(platforms, python, pins)
            except subprocess.CalledProcessError:
                print(f"not all packages have wheels for {platforms[0]}, Python {python}")
                continue
            for one in found:
                name = one["metadata"]["name"].lower().replace("_", "-")
                pins[name] = one["metadata"]["version"]
                about[name] = one["metadata"]
                digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
                hashes.setdefault(name, set()).add(digest)
    lines = [HEAD]
    for name in sorted(pins):
        known = " \\\n".join(f"    --hash=sha256:{one}" for one in sorted(hashes[name]))
        lines.append(f"{name}=={pins[name]} \\\n{known}\n")
    LOCK.write_text("".join(lines), encoding="utf-8")
    SBOM.write_text(json.dumps(bill(pins, hashes, about), indent=1) + "\n", encoding="utf-8")
    return 0


def bill(
    pins: dict[str, str], hashes: dict[str, set[str]], about: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """A bill of materials in the words of CycloneDX."""
    parts = [
        {
            "type": "library",
            "name": name,
            "version": pins[name],
            "purl": f"pkg:pypi/{name}@{pins[name]}",
            "bom-ref": f"pkg:pypi/{name}@{pins[name]}",
            "licenses": _licenses(about[name]),
            "hashes": [{"alg": "SHA-256", "content": one} for one in sorted(hashes[name])],
        }
        for name in sorted(pins)
    ]
    whole = "".join(part["purl"] for part in parts)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, whole)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "hvci", "bom-ref": "hvci"}},
        "components": parts,
        "dependencies": [{"ref": "hvci", "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _licenses(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """What the package says of its license, in one line."""
    said = metadata.get("license_expression")
    if said:
        return [{"expression": said}]
    classes = [one for one in metadata.get("classifier", ()) if one.startswith("License ::")]
    name = classes[0].rpartition(":: ")[2] if classes else metadata.get("license") or ""
    first = name.strip().partition("\n")[0][:80]
    return [{"license": {"name": first}}] if first else []


if __name__ == "__main__":
    raise SystemExit(main())
