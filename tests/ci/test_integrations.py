"""The files that other systems read: the Action's own steps run on the sample repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples/sample-repository"
BUILT = ROOT / "tests/fixtures/built"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text())


@pytest.fixture
def repository(tmp_path):
    """A copy of the sample repository, with a path on which `hvci` is this one."""
    shutil.copytree(SAMPLE, tmp_path / "repository")
    (tmp_path / "repository/out").mkdir()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/hvci"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hvci "$@"\n')
    command.chmod(0o755)
    return tmp_path / "repository"


def environment(repository, **more):
    path = f"{repository.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def run_action(repository, driver, **inputs):
    """Run the `run` steps of action.yml as GitHub does; hvci counts as installed."""
    shutil.copy(BUILT / driver, repository / "out/sample.sys")
    values = {name: str(given.get("default", "")) for name, given in ACTION["inputs"].items()}
    values |= {"install": "false", **inputs}
    files = {
        name: str(repository.parent / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    }
    for step in ACTION["runs"]["steps"]:
        if "inputs.install == 'true'" in step.get("if", ""):
            continue
        extra = {name: fill(text, values) for name, text in step.get("env", {}).items()}
        result = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=repository,
            env=environment(repository, **files, **extra),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            break
    return result, {name: Path(path).read_text() for name, path in files.items()}


def fill(text, values):
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)


def test_a_bad_driver_fails(repository):
    result, files = run_action(repository, "sample_bad.x64.o2.sys")
    assert result.returncode == 1
    assert "::error file=out/sample.sys,title=execute-pool-type::HVCI2000: " in result.stdout
    assert files["GITHUB_OUTPUT"] == "exit-code=1\n"
    assert "will not load; if it did" in files["GITHUB_STEP_SUMMARY"]
    assert json.loads((repository / "hvci.sarif").read_text())["runs"][0]["results"]
    assert (repository / "hvci.html").read_text().startswith("<!doctype html>")


def test_the_fixed_driver_passes(repository):
    result, files = run_action(repository, "sample_clean.x64.o2.sys")
    assert (result.returncode, result.stderr) == (0, "")
    assert files["GITHUB_OUTPUT"] == "exit-code=0\n"


def test_a_reasoned_suppression_passes_and_is_shown(repository):
    result, _ = run_action(repository, "ports_bad.x64.o2.sys")
    assert result.returncode == 1
    result, files = run_action(repository, "ports_bad.x64.o2.sys", config="accepted.toml")
    assert result.returncode == 0
    assert "The allocator is replaced" in files["GITHUB_STEP_SUMMARY"]
    one = json.loads((repository / "hvci.sarif").read_text())["runs"][0]
    assert all("suppressions" in item for item in one["results"])


def test_a_suppression_without_a_reason_is_refused(repository):
    text = (repository / "accepted.toml").read_text()
    (repository / "accepted.toml").write_text(re.sub(r"(?m)^reason.*\n", "", text))
    result, _ = run_action(repository, "ports_bad.x64.o2.sys", config="accepted.toml")
    assert result.returncode == 2
    assert "needs a reason" in result.stderr


def test_inputs_never_become_commands(repository):
    evil = "out/sample.sys\n$(touch owned)\n; touch owned"
    result, _ = run_action(repository, "sample_clean.x64.o2.sys", targets=evil, sarif="", report="")
    assert result.returncode == 4
    assert not (repository / "owned").exists()
    assert not any("${{" in step.get("run", "") for step in ACTION["runs"]["steps"])


def test_a_baseline_and_a_profile_reach_hvci(repository):
    shutil.copy(BUILT / "ports_bad.x64.o2.sys", repository / "out/sample.sys")
    command = ["hvci", "baseline", "write"]
    subprocess.run(command, cwd=repository, env=environment(repository), check=True)
    given = {"baseline": "hvci-baseline.json", "profile": "default", "targets": "out"}
    result, _ = run_action(repository, "ports_bad.x64.o2.sys", **given)
    assert result.returncode == 0


def test_the_workflow_uses_inputs_that_exist():
    workflow = yaml.safe_load((SAMPLE / ".github/workflows/drivers.yml").read_text())
    steps = workflow["jobs"]["memory-integrity"]["steps"]
    (ours,) = [step for step in steps if step["uses"].startswith("OWNER/hvci")]
    assert set(ours["with"]) <= set(ACTION["inputs"])


def test_the_commands_of_the_sample_readme(repository):
    text = (SAMPLE / "README.md").read_text()
    lines = re.findall(r"^(cp|hvci) (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    codes = []
    for name, rest in lines:
        rest = rest.replace("../../tests/fixtures/built", str(BUILT))
        command = ["sh", "-c", f"{name} {rest}"]
        result = subprocess.run(
            command, cwd=repository, env=environment(repository), capture_output=True, check=False
        )
        codes.append(result.returncode)
    assert codes == [0, 1, 0, 0, 0, 0]


def test_pre_commit_hook():
    (hook,) = read_yaml(".pre-commit-hooks.yaml")
    assert hook["entry"] == "hvci check"
    assert re.search(hook["files"], "out/x.sys")


def test_gitlab_template(repository):
    template = read_yaml("integrations/gitlab/hvci.gitlab-ci.yml")[".hvci"]
    shutil.copy(BUILT / "sample_bad.x64.o2.sys", repository / "out/sample.sys")
    (command,) = [line for line in template["script"] if line.startswith("hvci")]
    result = subprocess.run(
        ["sh", "-c", command],
        cwd=repository,
        env=environment(repository, HVCI_TARGETS="out"),
        check=False,
        capture_output=True,
    )
    assert result.returncode == 1
    for name in (template["artifacts"]["reports"]["junit"], *template["artifacts"]["paths"]):
        assert (repository / name).stat().st_size


def test_msbuild_targets():
    space = "{http://schemas.microsoft.com/developer/msbuild/2003}"
    project = ElementTree.parse(ROOT / "integrations/msbuild/hvci.targets").getroot()
    (command,) = project.iter(f"{space}Exec")
    assert '"$(HvciCommand)" check "$(TargetPath)" --format msvs' in command.get("Command")


def test_container_file_copies_what_the_build_needs():
    text = (ROOT / "Containerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    (line,) = re.findall(r"^COPY (pyproject.*) /src/$", text, re.MULTILINE)
    assert needed <= set(line.split())
