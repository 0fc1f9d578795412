"""What MASM and ARM texts ask for: constants right before a call are values, all else is open."""

import pytest

from hvci.model import Outcome
from hvci.rules import judge
from hvci.source.assembly import survey
from sources import entry, lay, one_file, read, values, vcxproj

POOL, MAPPING, PROTECTION = "execute-pool-type", "execute-page-mapping", "execute-page-protection"
DYNAMIC, WRITES = "dynamic-code", "writes-executable-memory"
CLEAN = entry("return STATUS_SUCCESS;")
MASM = '<MASM Include="a.asm" />'


def driver(tmp_path, text, platform="x64", **files):
    """The evidence of a driver with one assembler text."""
    project = vcxproj("b.c", platforms=(platform,), extra=f"<ItemGroup>{MASM}</ItemGroup>")
    return read(lay(tmp_path, a__asm=text, b__c=CLEAN, b__vcxproj=project, **files))


def answers(evidence, *rules):
    """The outcomes of some rules."""
    found = {one.rule: one.outcome for one in judge(evidence)}
    return [found[rule] for rule in rules]


def x64(*lines, name="ExAllocatePool"):
    """A procedure of some instructions."""
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f"EXTERN {name}:PROC\nEXTERN __imp_{name}:QWORD\n.code\nf PROC\n{body}\n ret\nf ENDP\nEND\n"
    )


def x86(*lines, name="ExAllocatePool"):
    """The same for x86."""
    body = "\n".join(f"  {line}" for line in lines)
    head = f".686p\n.model flat, stdcall\n{name} PROTO :DWORD, :DWORD\n"
    return f"{head}.code\nf PROC\n{body}\n ret\nf ENDP\nEND\n"


PROTECT = {"name": "ZwAllocateVirtualMemory"}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (x64("xor ecx, ecx", "mov edx, 64", "call ExAllocatePool"), Outcome.FAIL),
        (x64("xor\tecx,ecx", "mov edx, 64", "call\tExAllocatePool ; the pool"), Outcome.FAIL),
        (x64("mov ecx, 0", "call qword ptr [__imp_ExAllocatePool]"), Outcome.FAIL),
        (x64("mov ecx, 0", "call __imp_ExAllocatePool"), Outcome.FAIL),
        (x64("mov rcx, 0", "jmp EXALLOCATEPOOL"), Outcome.FAIL),
        (x64("mov ecx, NonPagedPool", "call ExAllocatePool"), Outcome.FAIL),
        (x64("mov ecx, 200h", "mov rdx, [rsp+20h]", "call ExAllocatePool"), Outcome.PASS),
        (x64("mov ecx, NonPagedPoolNx", "call ExAllocatePool"), Outcome.PASS),
        (x64("mov ecx, 200h OR 4", "call ExAllocatePool"), Outcome.PASS),
        (x64("mov ecx, 512", "lea rdx, [rax+rcx]", "call ExAllocatePool"), Outcome.PASS),
        (x64("mov ecx, 200h", "xor ecx, eax", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("mov ecx, 200h", "mov cl, 0", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("mov ecx, 200h", "call g", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("mov ecx, 200h", "again:", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("mov ecx, 200h", "LOADTYPE", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("jz ExAllocatePool"), Outcome.UNDECIDED),
        (x64("lea rax, ExAllocatePool", "call rax"), Outcome.UNDECIDED),
        (x64("mov rax, __imp_ExAllocatePool", "call rax"), Outcome.UNDECIDED),
        (x64("Table dq ExAllocatePool"), Outcome.UNDECIDED),
        (x64("Name db 'ExAllocatePool', 0"), Outcome.UNDECIDED),
        (x64("lea rcx, n", "call MmGetSystemRoutineAddress"), Outcome.UNDECIDED),
        (x64("; call ExAllocatePool"), Outcome.PASS),
        (x64() + "COMMENT ~ call ExAllocatePool\n call ExAllocatePool ~\n", Outcome.PASS),
        (x64("ret", "ExAllocatePool PROC", "ret"), Outcome.PASS),
        (
            x64("ret", "f ENDP", "ExAllocatePool PROC", "xor ecx,ecx", "jmp ExAllocatePool"),
            Outcome.PASS,
        ),
        (x64("ifdef OLD", "xor ecx, ecx", "call ExAllocatePool", "endif"), Outcome.UNDECIDED),
        (x64("%ifdef OLD", "xor ecx, ecx", "call ExAllocatePool", "%endif"), Outcome.UNDECIDED),
        (x64("ifdef OLD", "mov ecx, 200h", "call ExAllocatePool", "endif"), Outcome.PASS),
        (x64("mov ecx, TYPE1", "call ExAllocatePool") + "TYPE1 EQU 0\n", Outcome.FAIL),
        (x64("mov ecx, TYPE1", "call ExAllocatePool") + "TYPE1 = 200h\n", Outcome.PASS),
        (x64("mov ecx, TYPE1", "call ExAllocatePool"), Outcome.UNDECIDED),
        (x64("xor ecx, ecx \\", "", "call ExAllocatePool"), Outcome.FAIL),
        (
            x64("mov dword ptr [rsp+28h], 40h", "call ZwAllocateVirtualMemory", **PROTECT),
            Outcome.PASS,
        ),
    ],
)
def test_a_pool_type_in_x64(tmp_path, text, outcome):
    assert answers(driver(tmp_path, text), POOL) == [outcome]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (("mov dword ptr [rsp+28h], 40h",), Outcome.FAIL),
        (("mov dword ptr [rsp+40], 4", "mov qword ptr [rsp+20h], rax"), Outcome.PASS),
        (("mov dword ptr [rsp+28h], 4", "mov [rsp+rax], rdx"), Outcome.UNDECIDED),
        (("mov dword ptr [rsp+28h], 4", "sub rsp, 8"), Outcome.UNDECIDED),
        (("mov byte ptr [rsp+28h], 4",), Outcome.UNDECIDED),
        ((), Outcome.UNDECIDED),
    ],
)
def test_an_argument_on_the_stack_of_x64(tmp_path, lines, outcome):
    text = x64(*lines, "call ZwAllocateVirtualMemory", **PROTECT)
    assert answers(driver(tmp_path, text), PROTECTION) == [outcome]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (("push 64", "push 0", "call ExAllocatePool"), Outcome.FAIL),
        (("push 64", "push 0", "call dword ptr [__imp__ExAllocatePool@8]"), Outcome.FAIL),
        (("push 64", "push NonPagedPool", "call _ExAllocatePool@8"), Outcome.FAIL),
        (("push 0", "push 200h", "call ExAllocatePool"), Outcome.PASS),
        (("push 0", "xor eax, eax", "push eax", "call ExAllocatePool"), Outcome.FAIL),
        (("push 200h", "pop eax", "push eax", "call ExAllocatePool"), Outcome.UNDECIDED),
        (("push 200h", "add esp, 4", "call ExAllocatePool"), Outcome.UNDECIDED),
        (("push 200h", "mov dword ptr [esp], 0", "call ExAllocatePool"), Outcome.UNDECIDED),
        (("invoke ExAllocatePool, NonPagedPool, 64",), Outcome.FAIL),
        (("INVOKE ExAllocatePool, 200h, SIZEOF X",), Outcome.PASS),
        (("invoke ExAllocatePool, eax, 64",), Outcome.UNDECIDED),
        (("stdCall ExAllocatePool, <0, 64>",), Outcome.UNDECIDED),
    ],
)
def test_a_pool_type_in_x86(tmp_path, lines, outcome):
    assert answers(driver(tmp_path, x86(*lines), "Win32"), POOL) == [outcome]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (("mov w0, #0", "mov x1, #64", "bl ExAllocatePool"), Outcome.FAIL),
        (("mov w0, wzr", "b ExAllocatePool"), Outcome.FAIL),
        (("mov w0, #0x200", "bl |ExAllocatePool|"), Outcome.PASS),
        (("mov w0, #0x200", "ldr x1, [x0], #8", "bl ExAllocatePool"), Outcome.UNDECIDED),
        (("ldr x8, =__imp_ExAllocatePool", "blr x8"), Outcome.UNDECIDED),
    ],
)
def test_a_pool_type_in_arm64(tmp_path, lines, outcome):
    body = "\n".join(f"    {line}" for line in lines)
    text = f"    AREA |.text|, CODE\n    IMPORT ExAllocatePool\nf PROC\n{body}\n    ENDP\n    END\n"
    assert answers(driver(tmp_path, text, "ARM64"), POOL) == [outcome]


def test_a_limit_names_file_line_and_routine(tmp_path):
    (reason,) = [
        one.reason
        for one in driver(tmp_path, x64("lea rax, ExAllocatePool")).limits
        if "ExAllocatePool" in one.reason
    ]
    assert reason.startswith(f"{tmp_path.as_posix()}/a.asm:5: ExAllocatePool is named in assembly")
    ((line, ddi, held, complete),) = values(driver(tmp_path, x64("call ExAllocatePool")))
    assert (line, ddi, held, complete) == (5, "ExAllocatePool", set(), False)


def test_code_in_memory_that_assembly_gets_leaves_runs_open(tmp_path):
    called = x64("mov ecx, 200h", "call ExAllocatePool", "call rax")
    assert answers(driver(tmp_path, called), POOL, DYNAMIC) == [Outcome.PASS, Outcome.UNDECIDED]
    kept = x64("mov ecx, 200h", "call ExAllocatePool", "call qword ptr [Kept]")
    assert answers(driver(tmp_path, kept), DYNAMIC) == [Outcome.UNDECIDED]
    named = x64("lea rax, ExAllocatePool", "call rax", "call rax")
    assert answers(driver(tmp_path, named), DYNAMIC) == [Outcome.UNDECIDED]


@pytest.mark.parametrize(
    "text",
    [
        x64("mov ecx, 200h", "call ExAllocatePool", "call __imp_ExFreePool"),
        x64("mov ecx, 200h", "call ExAllocatePool", "call g"),
        x64("call rax", name="KeBugCheck"),
        x64("xor eax, eax", name="ExAllocatePool"),
    ],
)
def test_ordinary_assembly_leaves_runs_alone(tmp_path, text):
    assert answers(driver(tmp_path, text), DYNAMIC, WRITES) == [Outcome.PASS] * 2


def test_a_store_to_the_code_of_the_text_itself(tmp_path):
    assert answers(driver(tmp_path, x64("mov byte ptr [f], 90h")), WRITES) == [Outcome.FAIL]
    assert answers(driver(tmp_path, x64("mov rax, [f]", "mov [Kept], rax")), WRITES) == [
        Outcome.PASS
    ]


INLINE = [
    ("__asm { push 64\n push 0\n call ExAllocatePool\n call eax }", True),
    ("__asm call dword ptr [__imp__ExAllocatePool@8]\n", True),
    ('asm volatile("xorl %ecx,%ecx\\n call ExAllocatePool" ::: "rax");', True),
    ('__asm__("call *%0" : : "r"(p));', False),
    ("__asm { nop } ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'a');", False),
    ("#if 0\n__asm { call ExAllocatePool }\n#endif\n", False),
    ("/* __asm { call ExAllocatePool } */", False),
]


@pytest.mark.parametrize(("statement", "is_open"), INLINE)
def test_inline_assembly_that_names_a_routine_is_open(tmp_path, statement, is_open):
    folder = lay(tmp_path, b__c=entry(statement), b__vcxproj=vcxproj("b.c"))
    expected = Outcome.UNDECIDED if is_open else Outcome.PASS
    assert answers(read(folder), POOL, DYNAMIC) == [expected] * 2


@pytest.mark.parametrize(
    "data", ["Kept REAL8 0.0\n", "Kept dq 0\n", "Kept:\n dq 0\n", "Kept: times 8 db 0\n"]
)
def test_a_store_to_data_is_nothing(tmp_path, data):
    assert answers(driver(tmp_path, x64("mov [Kept], rax") + data), WRITES) == [Outcome.PASS]


def test_included_files_are_read(tmp_path):
    text = "include types.inc\n" + x64("mov ecx, OURPOOL", "call ExAllocatePool")
    assert answers(driver(tmp_path, text, types__inc="OURPOOL EQU 200h\n"), POOL) == [Outcome.PASS]
    quoted = text.replace("include types.inc", "%include 'types.inc'")
    assert answers(driver(tmp_path, quoted, types__inc="OURPOOL EQU 0\n"), POOL) == [Outcome.FAIL]
    macro = "GET MACRO\n xor ecx, ecx\n call ExAllocatePool\n ENDM\n"
    assert answers(driver(tmp_path, text, types__inc=macro), POOL) == [Outcome.FAIL]


@pytest.mark.parametrize("word", ["INCLUDE gone.inc", "include <sub\\gone.inc>", "  GET gone.inc"])
def test_what_a_missing_file_would_do_is_open(tmp_path, word):
    text = f"{word}\n.code\nf PROC\n OURALLOC 0\n ret\nf ENDP\nEND\n"
    evidence = driver(tmp_path, text)
    assert answers(evidence, POOL, DYNAMIC) == [Outcome.UNDECIDED] * 2
    (limit,) = (one for one in evidence.limits if "gone.inc" in one.reason)
    assert limit.site.path.endswith("a.asm")


def test_files_that_are_too_many_are_one_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "MOST", 1)
    chain = {"a__inc": "include b.inc\n", "b__inc": "X EQU 1\n"}
    evidence = driver(tmp_path, "include a.inc\n.code\nf PROC\n ret\nf ENDP\nEND\n", **chain)
    assert answers(evidence, POOL, DYNAMIC) == [Outcome.UNDECIDED] * 2


def test_a_missing_file_of_the_kit_is_nothing(tmp_path):
    evidence = driver(tmp_path, "include ksamd64.inc\n.code\nf PROC\n ret\nf ENDP\nEND\n")
    assert answers(evidence, POOL, DYNAMIC) == [Outcome.PASS] * 2


def test_a_file_that_no_driver_assembles_says_nothing(tmp_path):
    text = x64("xor ecx, ecx", "call ExAllocatePool")
    folder = lay(tmp_path, a__asm=text, b__c=CLEAN, b__vcxproj=vcxproj("b.c"))
    assert answers(read(folder), POOL) == [Outcome.PASS]


def test_each_machine_is_read_with_its_own_way_to_pass_arguments(tmp_path):
    text = "EXTERN ExAllocatePool:PROC\n.code\nf PROC\n xor ecx, ecx\n push 200h\n"
    text += " call ExAllocatePool\n ret\nf ENDP\nEND\n"
    assert answers(driver(tmp_path, text, "Win32"), POOL) == [Outcome.PASS]
    assert answers(driver(tmp_path, text, "x64"), POOL) == [Outcome.FAIL]


GO = "void Go({0});\n" + entry("PVOID p = MmAllocateContiguousMemory(64, Most); Go({1});")


@pytest.mark.parametrize(
    ("lines", "given", "platform", "is_open"),
    [
        ("jmp rcx", "p", "x64", True),
        ("call rcx", "p", "x64", True),
        ("mov rax, rcx\n jmp rax", "p", "x64", True),
        ("mov rsi, rcx\n call rsi", "p", "x64", True),
        ("jmp rdx", "0, p", "x64", True),
        ("jmp rdx", "p, 0", "x64", False),
        ("xor ecx, ecx\n jmp rcx", "p", "x64", False),
        ("call Other\n jmp rcx", "p", "x64", False),
        ("jmp rcx", "Most", "x64", False),
        ("mov eax, [esp+4]\n jmp eax", "p", "Win32", True),
        ("jmp dword ptr [esp+8]", "0, p", "Win32", True),
        ("push ebp\n mov ebp, esp\n call dword ptr [ebp+0Ch]", "0, p", "Win32", True),
        ("br x0", "p", "ARM64", True),
        ("mov x9, x1\n blr x9", "0, p", "ARM64", True),
    ],
)
def test_memory_that_a_routine_of_assembly_runs(tmp_path, lines, given, platform, is_open):
    body = f"Go PROC\n {lines}\n ret\nGo ENDP\nEND\n"
    project = vcxproj("b.c", platforms=(platform,), extra=f"<ItemGroup>{MASM}</ItemGroup>")
    text = GO.replace("{0}", "PVOID a, PVOID b").replace("{1}", given)
    lay(tmp_path, a__asm=f".code\n{body}", b__c=text.replace("{{", "{").replace("}}", "}"))
    evidence = read(lay(tmp_path, b__vcxproj=project))
    assert any("has Go call" in one.what for one in evidence.behaviours) is is_open


@pytest.mark.parametrize("line", ['.include "more.inc"', '#include "more.inc"'])
def test_files_that_other_assembly_includes(tmp_path, line):
    item = '<CustomBuild Include="a.s"><Outputs>a.obj</Outputs></CustomBuild>'
    project = vcxproj("b.c", extra=f"<ItemGroup>{item}</ItemGroup>")
    lay(tmp_path, a__s=f"{line}\n", b__c=CLEAN, b__vcxproj=project)
    assert any("more.inc, which is not here" in one.reason for one in read(tmp_path).limits)
    lay(tmp_path, more__inc="f:\n call ExAllocatePoolWithTag\n")
    assert any("uses ExAllocatePoolWithTag" in one.reason for one in read(tmp_path).limits)


GOES_ON = {
    "variable": ("__asm { call p }", True),
    "register": ("__asm mov eax, p\n__asm call eax", True),
    "memory": ("__asm { jmp dword ptr [ebx+4] }", True),
    "operand": ('__asm__ volatile("call *%0" : : "r"(p) : "memory");', True),
    "named operand": ('asm volatile("jmp *%[to]" : : [to] "r"(p));', True),
    "register of ARM64": ('asm volatile("blr x8");', True),
    "global": ("__asm { call Global }", True),
    "function": ("__asm { call Real }", False),
    "label": ("__asm { jmp done\ndone: nop }", False),
    "symbol": ('asm volatile("call %P0" : : "i"(Real));', False),
    "no call": ("__asm { mov eax, p }", False),
}


@pytest.mark.parametrize("shape", GOES_ON)
def test_inline_assembly_that_goes_on_to_a_pointer_is_open(tmp_path, shape):
    statement, is_open = GOES_ON[shape]
    text = "#include <ntddk.h>\nPVOID Global;\nvoid Real(void) { }\n"
    text += "void f(PVOID q)\n{\n    PVOID p = q; Global = q;\n    %s\n    %s\n}\n"
    memory = "q = ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'aaaa');"
    limits = one_file(tmp_path, text % (memory, statement)).limits
    assert any("where a pointer leads" in one.reason for one in limits) == is_open
    limits = one_file(tmp_path, text % ("", statement)).limits
    assert not any("where a pointer leads" in one.reason for one in limits)
