"""INFs of driver packages."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

from hvci.packages.inf import read_inf

TEXT = (
    '[Version]\nSignature="$WINDOWS NT$"\nClass=System\nClassGuid={4d36e97d-e325-11ce-bfc1-08002be10318}\n'
    "Provider=%V%\nCatalogFile=a.cat\nDriverVer=01/01/2026,1.0.0.0\n[Manufacturer]\n%V%=M,NTamd64.10.0\n"
    "[M.NTamd64.10.0]\n%D%=I,ROOT\\a\n[I.NT]\nCopyFiles=F\nInclude=b.inf\nNeeds=B\n[F]\na.sys,,,2\n[I.NT.Services]\n"
    "AddService=a,2,S\n[S]\nServiceType=1\nStartType=3\nErrorControl=1\nServiceBinary=%12%\\a.sys\n"
    '[SourceDisksFiles]\na.sys=1,x64\n[DestinationDirs]\nF=12\n[Strings]\nV="Vendor"\nD="%V% 1"\n'
)


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        read_inf(data)


def seeds() -> Iterator[bytes]:
    """One INF in two encodings."""
    yield TEXT.encode()
    yield TEXT.encode("utf-16")
