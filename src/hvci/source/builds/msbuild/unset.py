"""Properties that nobody in a tree sets: of the tools, or of the environment alone.

Knows names of properties; knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from hvci.source.builds.model import defines, option_defines, options_of
from hvci.source.builds.msbuild.files import Element, said

TOOLSET = re.compile(
    r"(?i)vctargetspath\w*|msbuildextensionspath\w*|msbuildtoolspath\w*|msbuildbinpath|userrootdir"
    r"|wdk\w*|windowssdk\w*|localappdata|appdata|programfiles\w*|vcinstalldir|vsinstalldir|devenvdir"
    r"|msbuildsdkspath|_propertysheetdisplayname|vcmakefile|nuget\w*|custombeforemicrosoft\w*"
    r"|customaftermicrosoft\w*|msbuildprojectextensionspath|vcpkg\w*"
)
"""Where Visual Studio and the kits are."""
OF_KIT = re.compile(
    r"(?i)(?:windowstarget|target|latesttarget)platform(?:min)?version|vctoolsversion"
    r"|platformtoolsetversion|wdk\w*version|windowssdk\w*version"
)
"""Properties whose value the installed kits give."""
_DEFINING = ("preprocessordefinitions", "undefinepreprocessordefinitions", "forcedincludefiles")
_OF_TOOLS = re.compile(
    r"(?i)preprocessordefinitions|additionaloptions|forcedincludefiles|(?:no)?inherit|\w*dir"
    r"|[ku]mdf_\w+|\w*_(?:inc|lib)_path\w*|target(?:name|ext|path|filename)|outputtype"
    r"|undefinepreprocessordefinitions|platformtoolset|characterset|configurationtype"
)
"""What old projects write for what they inherit, and what the toolset or a kit sets."""


def may_define(item: str, metadata: str) -> bool:
    """Whether what is said of an item may hold macros."""
    return metadata in _DEFINING or (item == "clcompile" and metadata == "additionaloptions")


def of_environment(unknown: Iterable[str]) -> list[str]:
    """The properties among what nobody sets that are none of the tools."""
    plain = (name for name in sorted(unknown) if re.fullmatch(r"[\w.-]+", name))
    return [
        one for one in plain if not any(of.fullmatch(one) for of in (_OF_TOOLS, TOOLSET, OF_KIT))
    ]


def of_linker(text: str, unknown: Iterable[str]) -> Iterator[str]:
    """What to say of properties that may hold options of the linker, and not only a folder."""
    for name in of_environment(unknown):
        if any(word.startswith(f"$({name})") for word in text.split()):
            told = f"$({name}), which nothing here sets, may hold options of the linker"
            yield f"{told}: check with the value that it has, or the built .sys"


def unset(text: str, unknown: Iterable[str]) -> dict[tuple[str, str], None]:
    """Properties that only the environment may set, and the macros whose values they are, if so."""
    found: dict[tuple[str, str], None] = {}
    for name in of_environment(unknown):
        items = [one for one in re.split(r"[;\s]", text) if f"$({name})" in one]
        given = (re.match(r"\s*(?:[/-]D)?([A-Za-z_]\w*)=", one) for one in items)
        found |= dict.fromkeys((name, one[1] if one is not None else "") for one in given)
    return found


_GROUPS = (
    *("itemdefinitiongroup", "clcompile", "importgroup", "import", "project"),
    *("choose", "when", "otherwise"),
)


def kept_out(
    element: Element, item: str, imported: Callable[[Element], list[Element]]
) -> tuple[set[str], dict[str, set[str]]]:
    """The macros of what a condition leaves out, and those in its properties.

    One without a name stands for what nobody here can tell, such as a forced header.
    """
    macros, properties = set[str](), dict[str, set[str]]()
    todo = [(element, item)]
    while todo:
        one, of = todo.pop()
        if one.name == "import":
            todo += ((other, "project") for other in imported(one))
        if one.name in _GROUPS:
            todo += ((child, one.name) for child in said(one))
        elif one.name == "propertygroup":
            todo += ((child, one.name) for child in one.children)
        elif of == "propertygroup":
            held = {*defines(one.text), *option_defines(one.text)}
            properties.setdefault(one.name, set()).update(held)
        elif of == "clcompile":
            macros |= _macros(one)
    return macros, properties


def _macros(one: Element) -> set[str]:
    """The macros in what is said of how files are compiled."""
    if one.name == "additionaloptions":
        return {*option_defines(one.text), *options_of("U", one.text)}
    if one.name == "forcedincludefiles":
        return {""} if one.text.strip() else set()
    return set(defines(one.text) or {"": ""}) if one.name in _DEFINING else set()
