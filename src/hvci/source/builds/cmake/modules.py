"""Files of commands that lists run by name: which of them CMake brings along, and which nobody has.

Knows names; what is in such a file is run by `run`.
"""

from __future__ import annotations

import re

_OWN = re.compile(
    r"CMake\w*|C(?:Make|Pack|Test|heck)\w*|(?:Find|Test|Use)[A-Z]\w*|Generate\w+|GetPrerequisites"
    r"|(?:Bundle|CSharp|AndroidTest)Utilities|External(?:Data|Project)|FetchContent|FeatureSummary"
    r"|GNUInstallDirs|GoogleTest|ProcessorCount|InstallRequiredSystemLibraries|FortranCInterface"
    r"|AddFileDependencies|MacroAddFileDependencies|SelectLibraryConfigurations|ITKCompatibility"
    r"|Write\w+|Deploy\w+|Dart|Documentation|SquishTestScript|KDE\w+|Squish\w*"
)


def is_own(name: str) -> bool:
    """Whether a module comes with CMake."""
    return _OWN.fullmatch(name) is not None


def around_project(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Variables that name files which `project` runs: before it does anything, and behind."""
    before = ("CMAKE_PROJECT_TOP_LEVEL_INCLUDES", "CMAKE_PROJECT_INCLUDE_BEFORE")
    behind = ("CMAKE_PROJECT_INCLUDE", f"CMAKE_PROJECT_{name}_INCLUDE")
    return (*before, f"CMAKE_PROJECT_{name}_INCLUDE_BEFORE"), behind
