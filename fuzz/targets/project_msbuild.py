"""MSBuild projects, property files and solutions."""

from __future__ import annotations

from collections.abc import Iterator

import texts

NAMES = ("a.vcxproj", "a.sln", "a.slnx")
SEEDS = (
    '<Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003"><ItemGroup Label="ProjectConfigurations">'
    '<ProjectConfiguration Include="Debug|x64"><Configuration>Debug</Configuration><Platform>x64</Platform>'
    "</ProjectConfiguration></ItemGroup><PropertyGroup><ConfigurationType>Driver</ConfigurationType>"
    "<DriverType>KMDF</DriverType></PropertyGroup><ItemDefinitionGroup Condition=\"'$(Configuration)|$(Platform)'=='Debug|x64'\">"
    "<ClCompile><PreprocessorDefinitions>POOL_NX_OPTIN=1;%(PreprocessorDefinitions)</PreprocessorDefinitions>"
    "</ClCompile><Link><AdditionalOptions>/SECTION:.text,RWE</AdditionalOptions></Link></ItemDefinitionGroup>"
    '<ItemGroup><ClCompile Include="driver.c" /></ItemGroup><Import Project="$(MSBuildThisFileDirectory)b.props" /></Project>',
    'Microsoft Visual Studio Solution File, Format Version 12.00\nProject("{8BC9CEB8-8B4A-11D0-8D11-00A0C91BC942}") = "a", '
    '"a.vcxproj", "{11111111-1111-1111-1111-111111111111}"\nEndProject\nGlobal\nEndGlobal\n',
    '<Solution><Configurations><Platform Name="x64" /></Configurations><Project Path="a.vcxproj" /></Solution>',
)


def one(data: bytes) -> None:
    """The first byte chooses the file, the rest what it holds; a source lies beside it."""
    name = NAMES[(data[0] if data else 0) % len(NAMES)]
    texts.examined(name, data[1:], SEEDS, beside=texts.SOURCE)


def seeds() -> Iterator[bytes]:
    """Each file with each text."""
    for which in range(len(NAMES)):
        for number, _ in enumerate(SEEDS):
            yield bytes([which, 1, number])
            yield bytes([which, 0]) + SEEDS[number].encode()
