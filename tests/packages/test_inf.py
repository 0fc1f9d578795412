"""INFs: the text in every encoding, and the kernel services that Windows would install."""

import pytest

from hvci.errors import InputError
from hvci.model import Machine
from hvci.packages.inf import read_inf
from hvci.packages.inf_text import InfText, Line

BASE = """
[Version]
Signature = "$WINDOWS NT$"
Class = System
Provider = %Maker%
DriverVer = 01/02/2024,1.2.3.4
CatalogFile = Driver.cat
CatalogFile.NTarm64 = arm.cat

[Manufacturer]
%Maker% = Models, NTamd64, NTarm64.10.0...16299

[Models.NTamd64]
%Device% = Install, PCI\\VEN_1&DEV_2, PCI\\VEN_3

[Models.NTarm64.10.0...16299]
"Same device" = Install, PCI\\VEN_1&DEV_2

[Install.NT]
CopyFiles = Files

[Install.NT.Services]
AddService = MyService, 0x00000002, Service
AddService = ,2

[Service]
ServiceType = %KERNEL%   ; a kernel driver
StartType = 3
ServiceBinary = %12%\\my;driver.sys

[Files]
my;driver.sys, source.sys,,2

[SourceDisksNames]
1 = "Disk; one",,,
2 = Disk,,,\\bin

[SourceDisksFiles]
source.sys = 2,x\\y

[Strings]
Maker = "Maker ""and"" Sons, Ltd"
Device = Device
KERNEL = 1
"""
BASE = BASE.replace("my;driver.sys", '"my;driver.sys"', 1).replace(
    "my;driver.sys, s", '"my;driver.sys", s'
)


def service(text=BASE, **change):
    for old, new in change.items():
        text = text.replace(old, new)
    inf = read_inf(text.encode())
    return inf.services[0] if inf.services else None


@pytest.mark.parametrize(
    "data",
    [
        BASE.encode(),
        BASE.encode("utf-8-sig"),
        BASE.encode("utf-16"),
        BASE.encode("utf-16-le"),
        b"\xfe\xff" + BASE.encode("utf-16-be"),
        BASE.encode("utf-16-be"),
        BASE.replace("\n", "\r\n").encode("cp1252"),
        BASE.replace("Device = Device", "Device = Ger\xe4t").encode("cp1252"),
    ],
)
def test_every_encoding(data):
    inf = read_inf(data)
    assert inf.provider == 'Maker "and" Sons, Ltd'
    assert (inf.version, inf.class_name) == ("01/02/2024, 1.2.3.4", "System")
    assert inf.catalogs == ("Driver.cat", "arm.cat")
    assert inf.hardware_ids == 2
    (one,) = inf.services
    assert (one.name, one.file, one.start) == ("MyService", "my;driver.sys", 3)
    assert one.machines == {Machine.X64, Machine.ARM64}
    assert one.sources == ("bin/x/y/source.sys", "source.sys", "my;driver.sys")
    assert not inf.problems


def test_the_syntax_of_lines():
    text = InfText(
        b'[A]\nkey = 1, "two, 2" , %x% ; comment\nplain, "a;b"\nlong = a,\\\n b\n\n[a]\nmore\n'
        b'[Strings]\nx = "y%%z"\n; [Not]\n'
    )
    assert text.lines("a") == [
        Line("key", ("1", "two, 2", "y%%z")),
        Line("", ("plain", "a;b")),
        Line("long", ("a", "b")),
        Line("", ("more",)),
    ]
    assert text.value("A", "LONG") == "a"
    assert (text.value("A", "none"), text.lines("none")) == ("", [])
    assert text.filled("%SystemRoot%\\a 100%% %X%") == "%SystemRoot%\\a 100% y%%z"
    assert "not" not in text


def test_sections_of_an_architecture_come_before_others():
    text = BASE + (
        "[SourceDisksFiles.amd64]\nsource.sys = 1,amd\n"
        "[SourceDisksFiles.arm64]\nsource.sys = 1,arm\n"
    )
    assert service(text).sources[:2] == ("arm/source.sys", "amd/source.sys")
    exact = BASE.replace("[Install.NT", "[Install.NTamd64")
    assert service(exact).machines == {Machine.X64}


def test_undecorated_models_are_for_any_machine():
    text = BASE.replace("Models, NTamd64, NTarm64.10.0...16299", "Models.NTamd64")
    assert service(text).machines == frozenset()


def test_services_by_needs_of_services_and_in_a_circle():
    """As an audio INF does it whose hundred models share one section of services."""
    text = BASE.replace(
        "[Install.NT.Services]",
        "[Install.NT.Services]\nInclude = ks.inf\nNeeds = KS.Services, Common.Services\n"
        "[Common.Services]\nNeeds = Install.NT.Services, Deep",
    ).replace("[Service]", "[Deep]\nAddService = Other, , Service\n[Service]")
    names = {one.name for one in read_inf(text.encode()).services}
    assert names == {"MyService", "Other"}


def test_sections_by_needs():
    text = BASE.replace("[Install.NT.Services]", "[Other.Services]").replace(
        "CopyFiles = Files", "Include = other.inf\nNeeds = Other, Absent\n[Other]"
    )
    inf = read_inf(text.encode())
    assert inf.services[0].name == "MyService"
    assert inf.needs == ("other.inf",)


def test_a_primitive_driver_by_default_install():
    text = BASE[: BASE.index("[Manufacturer]")] + (
        "[DefaultInstall.NTamd64]\nCopyFiles = F\n[DefaultInstall.NTamd64.Services]\n"
        "AddService = S,,Sec\n[Sec]\nServiceType = 2\nStartType = 0\n"
        "ServiceBinary = %13%\\f.sys\n[Strings]\nMaker = M\n"
    )
    one = service(text)
    assert (one.name, one.file, one.start) == ("S", "f.sys", 0)
    assert one.machines == {Machine.X64}


@pytest.mark.parametrize(
    ("section", "machines", "windows"),
    [
        ("ClassInstall32", [], ()),
        ("ClassInstall32.NTamd64", [Machine.X64], ()),
        ("ClassInstall32.NT", [], ()),
        ("DefaultInstall.NTarm64", [Machine.ARM64], ()),
        ("DefaultInstall.NTamd64.10.0...16299", [Machine.X64], (10, 0, 16299)),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_services_that_no_model_leads_to(section, machines, windows, is_there):
    """Of a class, and of a driver without a device; the section itself can be left out."""
    own = f"[{section}]\nCopyFiles=@a.sys\n" * is_there
    text = f"""[Version]
{own}[{section}.Services]
AddService=A,,S
[S]
ServiceType=1
StartType=0
ServiceBinary=%13%\\a.sys
"""
    (one,) = read_inf(text.encode()).services
    assert (one.name, one.file, one.start) == ("A", "a.sys", 0)
    assert (sorted(one.machines), one.windows) == (machines, windows)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("KERNEL = 1", "KERNEL = 0x10"),
        ("AddService = MyService, 0x00000002, Service", ""),
        ("NTamd64, NTarm64.10.0...16299", "NTia64"),
    ],
)
def test_no_kernel_service(old, new):
    inf = read_inf(BASE.replace(old, new).replace("[Models.NTamd64]", "[Models.NTia64]").encode())
    assert inf.services == ()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("2, Service\n", "2, Nowhere\n", "there is no section 'Nowhere'"),
        ('%12%\\"my;driver.sys"', "", "names no binary"),
    ],
)
def test_what_is_wrong_is_told(old, new, why):
    text = BASE.replace("x00000002", "2") if "2, S" in old and old not in BASE else BASE
    assert old in text
    inf = read_inf(text.replace(old, new).encode())
    assert why in inf.problems[0]


def test_a_start_type_that_is_no_number_is_not_known():
    assert service(BASE.replace("StartType = 3", "StartType = %none%")).start is None


@pytest.mark.parametrize("path", ["..\\..\\up", "C:\\abs", "\\\\host\\share", "a\\.\\b"])
def test_no_path_leads_out_of_the_package(path):
    for source in service(BASE.replace("2,x\\y", f"2,{path}")).sources:
        assert ".." not in source
        assert ":" not in source
        assert not source.startswith("/")


@pytest.mark.parametrize("data", [b"", b"[Defines]\nFILE = x\n", b"\xff\xfe", bytes(100)])
def test_what_is_no_inf(data):
    with pytest.raises(InputError, match=r"no \[Version\] section|without a single section"):
        read_inf(data)


def test_bounds(monkeypatch):
    monkeypatch.setattr("hvci.packages.inf._MOST_INSTALLS", 1)
    many = BASE.replace('"Same device" = Install,', '"Same device" = Other,')
    assert "more install sections" in read_inf(many.encode()).problems[0]
    monkeypatch.setattr("hvci.packages.inf._MOST_SERVICES", 0)
    assert "more services" in read_inf(BASE.encode()).problems[-1]
    monkeypatch.setattr("hvci.packages.inf_text._MOST_LINES", 5)
    with pytest.raises(InputError, match="so many lines"):
        read_inf(BASE.encode())
    monkeypatch.setattr("hvci.packages.inf_text.MAX_BYTES", 5)
    with pytest.raises(InputError, match="this size"):
        read_inf(BASE.encode())
