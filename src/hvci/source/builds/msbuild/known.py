"""The properties that MSBuild and the toolset give every project by themselves.

Knows paths and names; evaluates nothing.
"""

from __future__ import annotations

from hvci.source.builds.msbuild.files import Library, absolute


def known_properties(
    library: Library, path: str, configuration: str, platform: str
) -> dict[str, str]:
    """Where a project is, for what it is built, and the solution around it."""
    full = absolute(path)
    folder, _, name = full.rpartition("/")
    stem = name.rpartition(".")[0]
    around = library.solutions.get(path) or next(iter(library.solutions_around(folder)), "")
    solution = absolute(around)
    known = {
        "configuration": configuration,
        "configurationname": configuration,
        "platform": platform,
        "platformname": platform,
        **_of_platform(platform),
        "projectdir": folder + "/",
        "projectpath": full,
        "projectfilename": name,
        "projectext": ".vcxproj",
        "projectname": stem,
        "msbuildprojectdirectory": folder,
        "msbuildprojectfullpath": full,
        "msbuildprojectfile": name,
        "msbuildprojectname": stem,
        "msbuildprojectextension": ".vcxproj",
        "solutiondir": (solution.rpartition("/")[0] or folder) + "/",
        "solutionpath": solution,
        "solutionfilename": solution.rpartition("/")[2],
        "solutionname": solution.rpartition("/")[2].rpartition(".")[0],
        "os": "Windows_NT",
        "visualstudioversion": "17.0",
        "msbuildtoolsversion": "Current",
        "designtimebuild": "",
    }
    return {name: value for name, value in known.items() if value or name == "platform"}


def _of_platform(platform: str) -> dict[str, str]:
    """What the toolset says of a platform."""
    name = platform.lower()
    short = {"win32": "x86"}.get(name, platform)
    wide = "64" if "64" in name else "32"
    return {
        "platformtarget": short,
        "platformshortname": short,
        "platformarchitecture": wide,
        "ddkplatform": short if name in ("win32", "x64") else platform.lower(),
    }
