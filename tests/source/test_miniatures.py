"""Four fixes that real drivers needed, as small drivers of our own: before and after."""

import pytest

from sources import bad, definitions, lay, read, vcxproj

SHARED_MEMORY = """
#include "device.h"
_Use_decl_annotations_
NTSTATUS SharedMemoryPrepare(PDEVICE_CONTEXT Context)
{{
    Context->Vectors = ExAllocatePoolWithTag(
        {pool},
        sizeof(VECTOR) * Context->VectorCount,
        'vmhs');
    Context->Map = (PMAP) ExAllocatePoolWithTag({pool}, sizeof(MAP), 'pmhs');
    return Context->Vectors ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}}
"""


@pytest.mark.parametrize(
    ("pool", "rules"), [("NonPagedPool", {"execute-pool-type"}), ("NonPagedPoolNx", set())]
)
def test_a_pool_type_without_nx(tmp_path, pool, rules):
    lay(tmp_path, shared__c=SHARED_MEMORY.format(pool=pool), s__vcxproj=vcxproj("shared.c"))
    assert bad(read(tmp_path)) == rules


TUNNEL = """
#define TUNNEL_PRIORITY {priority}
static PUCHAR PacketData(PNET_BUFFER Buffer, PMDL Mdl)
{{
    PUCHAR data = (PUCHAR)MmGetSystemAddressForMdlSafe(Mdl, TUNNEL_PRIORITY);
    return data ? data + NET_BUFFER_CURRENT_MDL_OFFSET(Buffer) : NULL;
}}
"""


@pytest.mark.parametrize(
    ("priority", "rules"),
    [
        ("NormalPagePriority", {"execute-page-mapping"}),
        ("(NormalPagePriority | MdlMappingNoExecute)", set()),
    ],
)
def test_a_mapping_without_no_execute(tmp_path, priority, rules):
    lay(tmp_path, packet__c=TUNNEL.format(priority=priority), t__vcxproj=vcxproj("packet.c"))
    assert bad(read(tmp_path)) == rules


GUARD = """
#include <ntddk.h>
NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path)
{{
    {call}
    return GuardCreate(Driver);
}}
NTSTATUS GuardCreate(PDRIVER_OBJECT Driver)
{{
    WDFMEMORY memory;
    return WdfMemoryCreate(NULL, NonPagedPool, 'draG', 64, &memory, NULL);
}}
"""


@pytest.mark.parametrize(
    ("call", "rules"),
    [
        ("", {"execute-pool-type", "nx-opt-in"}),
        ("ExInitializeDriverRuntime(DrvRtPoolNxOptIn);", set()),
    ],
)
def test_an_opt_in_that_is_defined_but_not_effective(tmp_path, call, rules):
    project = vcxproj("guard.c", extra=definitions("POOL_NX_OPTIN=1;%(PreprocessorDefinitions)"))
    lay(tmp_path, guard__c=GUARD.format(call=call), g__vcxproj=project)
    assert bad(read(tmp_path)) == rules


ALLOCATABLE = """
template <POOL_TYPE Pool, ULONG Tag>
class FromPool
{
public:
    void *operator new(size_t bytes) throw() { return ExAllocatePoolWithTag(Pool, bytes, Tag); }
    void operator delete(void *p) { if (p) ExFreePoolWithTag(p, Tag); }
};
"""
REDIRECTOR = """
#include "frompool.h"
class CRedirector : public FromPool<{pool}, 'riDR'>
{{
public:
    bool Start();
}};
"""


@pytest.mark.parametrize(
    ("pool", "rules"), [("NonPagedPool", {"execute-pool-type"}), ("NonPagedPoolNx", set())]
)
def test_a_pool_type_as_template_argument(tmp_path, pool, rules):
    lay(
        tmp_path,
        frompool__h=ALLOCATABLE,
        redirect__cpp=REDIRECTOR.format(pool=pool),
        u__vcxproj=vcxproj("redirect.cpp"),
    )
    evidence = read(tmp_path)
    assert bad(evidence) == rules
    (call,) = (one for one in evidence.calls if one.ddi == "ExAllocatePoolWithTag")
    assert "template" in call.note
