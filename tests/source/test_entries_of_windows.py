"""Memory that Windows gets as a routine: in fields that it reads, or cast to a routine's type."""

import pytest

from sources import bad, entry, lay, read, vcxproj

DYNAMIC = "dynamic-code"
POOL = "PVOID pool = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'a');"


def found(tmp_path, body, before="", name="d.c"):
    """Whether code in memory is found in a driver."""
    text = before + entry(body)
    lay(tmp_path, **{name.replace(".", "__"): text, "d__vcxproj": vcxproj(name)})
    return DYNAMIC in bad(read(tmp_path))


@pytest.mark.parametrize(
    "given",
    [
        "DriverObject->MajorFunction[IRP_MJ_READ] = (PDRIVER_DISPATCH)pool;",
        "DriverObject->MajorFunction[0] = pool;",
        "PDRIVER_DISPATCH f = (PDRIVER_DISPATCH)pool; DriverObject->MajorFunction[0] = f;",
        "DriverObject->MajorFunction[0] = (PDRIVER_DISPATCH)((PUCHAR)pool + 16);",
        "DriverObject->DriverUnload = (PDRIVER_UNLOAD)pool;",
        "DriverObject->DriverExtension->AddDevice = (PDRIVER_ADD_DEVICE)pool;",
        "Fast.FastIoRead = (PFAST_IO_READ)pool; DriverObject->FastIoDispatch = &Fast;",
        "config.EvtDriverDeviceAdd = (PFN_WDF_DRIVER_DEVICE_ADD)pool;",
        "WDF_DRIVER_CONFIG_INIT(&config, (PFN_WDF_DRIVER_DEVICE_ADD)pool);",
        "callout.classifyFn = (FWPS_CALLOUT_CLASSIFY_FN)pool;",
        "IoSetCancelRoutine(Irp, (PDRIVER_CANCEL)pool);",
        "OB_OPERATION_REGISTRATION r = { 0, 1, (POB_PRE_OPERATION_CALLBACK)pool, NULL };",
        "Global = pool; DriverObject->DriverUnload = (PDRIVER_UNLOAD)Global;",
        "Set(DriverObject, pool);",
    ],
)
def test_windows_gets_memory(tmp_path, given):
    before = (
        "static FAST_IO_DISPATCH Fast;\nstatic PVOID Global;\n"
        "void Set(PDRIVER_OBJECT d, PVOID code) { d->DriverUnload = (PDRIVER_UNLOAD)code; }\n"
    )
    assert found(tmp_path, POOL + given, before)


def test_windows_gets_memory_in_cplusplus(tmp_path):
    body = "DriverObject->DriverUnload = reinterpret_cast<PDRIVER_UNLOAD>(pool);"
    assert found(tmp_path, POOL + body, name="d.cpp")


def test_windows_gets_data_of_the_driver(tmp_path):
    before = "static UCHAR Code[] = { 0xc3 };\n"
    assert found(tmp_path, "DriverObject->DriverUnload = (PDRIVER_UNLOAD)(PVOID)Code;", before)


def test_a_variable_of_another_file(tmp_path):
    lay(
        tmp_path,
        a__c=f"#include <ntddk.h>\nPVOID Code;\nvoid Make(void) {{ Code = {POOL[13:]} }}\n",
    )
    body = "Make(); DriverObject->DriverUnload = (PDRIVER_UNLOAD)Code;"
    lay(tmp_path, b__c="extern void *Code;\nvoid Make(void);\n" + entry(body))
    lay(tmp_path, d__vcxproj=vcxproj("a.c", "b.c"))
    assert DYNAMIC in bad(read(tmp_path))


@pytest.mark.parametrize(
    "given",
    [
        "DriverObject->MajorFunction[0] = Create; DriverObject->DriverUnload = Unload;",
        "DriverObject->DriverExtension->AddDevice = (PDRIVER_ADD_DEVICE)Create;",
        "DriverObject->FastIoDispatch = pool;",
        "IoGetNextIrpStackLocation(Irp)->MajorFunction = IRP_MJ_READ;",
        "mine->Callback = pool;",
        "mine->Callback = (PMY_CALLBACK)pool;",
        "mine->Table = (PCALLBACK_TABLE)pool;",
        "attributes.EvtContext = pool;",
        "WSK = (PFN_STRANGE)MmGetSystemRoutineAddress(&name); ((PFN_STRANGE)WSK)(pool);",
    ],
)
def test_what_is_no_routine_of_memory(tmp_path, given):
    before = (
        "DRIVER_DISPATCH Create; DRIVER_UNLOAD Unload;\n"
        "typedef struct _MY_CALLBACK { int a; } MY_CALLBACK, *PMY_CALLBACK;\n"
        "struct Mine { PMY_CALLBACK Callback; PVOID Table; };\n"
    )
    assert not found(tmp_path, POOL + given, before)


@pytest.mark.parametrize(
    "body",
    [
        "FN f = (FN)pool; f();",
        "record->run = (FN)pool; record->run();",
        "FN t[2]; t[0] = (FN)pool; t[0]();",
        "FN f = (FN)Made(); f();",
        "void (*f)(void) = (void (*)(void))pool; f();",
    ],
)
def test_calls_by_name_of_memory_that_never_executes(tmp_path, body):
    before = (
        "typedef void (*FN)(void);\nstruct Record { FN run; } *record;\n"
        "PVOID Made(void) { return ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, 'a'); }\n"
    )
    assert found(tmp_path, POOL + body, before)


@pytest.mark.parametrize(
    "body",
    [
        "FN f = (FN)MmGetSystemRoutineAddress(&name); f();",
        "struct Record *r = pool; r->run = Do; r->run();",
        "FN f = Do; f();",
    ],
)
def test_calls_of_functions_by_name(tmp_path, body):
    before = "typedef void (*FN)(void);\nstruct Record { FN run; };\nvoid Do(void);\n"
    assert not found(tmp_path, POOL + body, before)
