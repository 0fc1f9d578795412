"""Small driver sources and projects for tests: texts in, files in a folder out."""

from __future__ import annotations

from hvci import catalog, source
from hvci.model import NEWEST, Outcome
from hvci.rules import judge

ENTRY = """
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{{
    {body}
    return STATUS_SUCCESS;
}}
"""

WRITING = """#include <ntddk.h>
typedef VOID (*ROUTINE)(VOID);
struct S { ULONG n; ROUTINE fn; PVOID data; };
static UNICODE_STRING Name = RTL_CONSTANT_STRING(L"KeBugCheckEx");
static UCHAR buffer[64];
VOID Real(VOID) { }
%s
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    %s
    return STATUS_SUCCESS;
}
"""
"""What stands outside of functions, and the statements of the entry point."""

VCXPROJ = """<?xml version="1.0" encoding="utf-8"?>
<Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003">
  <ItemGroup Label="ProjectConfigurations">
    {configurations}
  </ItemGroup>
  <PropertyGroup Label="Configuration">
    <ConfigurationType>{type}</ConfigurationType>
    <DriverType>{driver}</DriverType>
    <TargetVersion>Windows10</TargetVersion>
  </PropertyGroup>
  {extra}
  <ItemGroup>
    {files}
  </ItemGroup>
</Project>
"""


def entry(body):
    """A driver whose entry routine holds some statements."""
    return "#include <ntddk.h>\n" + ENTRY.format(body=body)


def vcxproj(*files, platforms=("x64",), type="Driver", driver="WDM", extra=""):
    """A project that compiles files for platforms."""
    names = [f"Release|{platform}" for platform in platforms]
    return VCXPROJ.format(
        configurations="\n".join(f'<ProjectConfiguration Include="{name}" />' for name in names),
        files="\n".join(f'<ClCompile Include="{file}" />' for file in files),
        type=type,
        driver=driver,
        extra=extra,
    )


def definitions(text, condition="", element="PreprocessorDefinitions", item="ClCompile"):
    """An item definition group."""
    when = f""" Condition="{condition}" """ if condition else ""
    return (
        f"<ItemDefinitionGroup{when}><{item}><{element}>{text}</{element}></{item}>"
        "</ItemDefinitionGroup>"
    )


def lay(folder, **files):
    """Write files; two underscores in a name are a dot, three a slash."""
    for name, text in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(data)
    return folder


def read(path, target=NEWEST):
    """The evidence of a folder or file."""
    return source.read(path, target)


def one_file(tmp_path, text, name="driver.c"):
    """The evidence of a single source file."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path)


def values(evidence, ddi=None):
    """(line, DDI, possible values, complete) of each deciding argument."""
    found = []
    for call in evidence.calls:
        deciding = catalog.ddis()[call.ddi].deciding
        value = call.arguments.get(deciding)
        if value is not None and ddi in (None, call.ddi):
            found.append((call.site.line, call.ddi, set(value.possible), value.complete))
    return found


def value_of(evidence, ddi):
    """The deciding value of the only call of a DDI."""
    ((_, _, possible, complete),) = values(evidence, ddi)
    return (possible, complete)


BAD = (Outcome.FAIL, Outcome.UNDECIDED)


def bad(evidence):
    """The rules that fail or cannot decide by a finding."""
    return {
        result.rule
        for result in judge(evidence)
        if any(one.outcome in BAD and not one.suppressed for one in result.findings)
    }


def shown(evidence):
    """The rules that have any finding that is not suppressed."""
    return {
        result.rule
        for result in judge(evidence)
        if any(not one.suppressed for one in result.findings)
    }
