"""What our own sources never do, whatever they read: run text, unpickle, start a shell."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "src" / "hvci"
MODULES = frozenset(("pickle", "cPickle", "marshal", "shelve", "dill", "jsonpickle", "commands"))
BARE = frozenset(("eval", "exec", "__import__", "input"))
DOTTED = frozenset(
    (
        *("os.system", "os.popen", "tempfile.mktemp", "yaml.load", "yaml.unsafe_load"),
        *("subprocess.getoutput", "subprocess.getstatusoutput"),
    )
)
RAW_XML = {"logs/events.py"}
"""Parses elements cut out of a text, before which no declaration can stand."""

MAKES_INIT = {"model/record.py"}
"""Makes `__init__` of the names of our own fields, as `dataclasses` does: no text of a file."""


def faults(text, name=""):
    """What a source does that none may, by line."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for one in names:
            if one.split(".")[0] in MODULES:
                yield f"{node.lineno}: {one}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            raw = called.endswith(
                ("ElementTree.fromstring", "ET.fromstring", "ET.parse", "XMLParser")
            )
            bare = called in BARE and not (called == "exec" and name in MAKES_INIT)
            if bare or called in DOTTED or (raw and name not in RAW_XML):
                yield f"{node.lineno}: {called}"
            for word in node.keywords:
                is_off = getattr(word.value, "value", True) is False
                if word.arg in ("shell", "allow_pickle") and not is_off:
                    yield f"{node.lineno}: {word.arg}"


def test_no_source_calls_what_runs_text():
    found = {
        str(path.relative_to(HOUSE)): said
        for path in sorted(HOUSE.rglob("*.py"))
        if (said := [*faults(path.read_text(), path.relative_to(HOUSE).as_posix())])
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "eval(x)",
        "exec('y')",
        "yaml.load(s)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=y)",
        "os.system(z)",
        "np.load(file, allow_pickle=True)",
        "ET.fromstring(data)",
    ],
)
def test_such_a_source_would_be_seen(text):
    assert [*faults(text)]


def test_what_looks_alike_is_let_pass():
    clean = "re.compile(x); json.loads(y); self.eval(z); subprocess.run(w, shell=False)"
    assert [*faults(clean)] == []
