"""What sources and projects say besides calls: settings, behaviour, suppressions, swapped names."""

import pytest

from clock import Clock
from hvci.model import Outcome
from hvci.rules import judge
from sources import bad, definitions, entry, lay, one_file, read, shown, vcxproj

CALL = "p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
CLEAN = entry("return STATUS_SUCCESS;")


def result(evidence, rule):
    """What one rule says."""
    return next(one for one in judge(evidence) if one.rule == rule)


def linked(tmp_path, text, element="AdditionalOptions"):
    """A clean driver whose project gives linker options."""
    extra = definitions(text, element=element, item="Link")
    return read(lay(tmp_path, a__c=CLEAN, a__vcxproj=vcxproj("a.c", extra=extra)))


# ---- linker settings

SECTION, ALIGN, IAT = "execute-write-section", "section-alignment", "iat-in-executable-section"


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ("", set()),
        ("/DRIVER:WDM /INTEGRITYCHECK", set()),
        ("/SECTION:.hook,ERW", {SECTION}),
        ("-section:.hook,EWR", {SECTION}),
        ("/SECTION:.hook,ER", set()),
        ("/SECTION:.hook,!EW", set()),
        ("/SECTION:INIT,ERWD", set()),
        ("/MERGE:.data=.text", {SECTION}),
        ("/MERGE:.rdata=.text", {IAT}),
        ("/MERGE:PAGECONST=PAGE", set()),
        ("/MERGE:.text=.data /SECTION:.data,re", set()),
        ("/ALIGN:0x80", {ALIGN}),
        ("/ALIGN:128", {ALIGN}),
        ("/ALIGN:0x1000", set()),
        ("%(AdditionalOptions) /ALIGN:4096", set()),
    ],
)
def test_linker_options(tmp_path, options, rules):
    assert bad(linked(tmp_path, options)) == rules


@pytest.mark.parametrize(
    ("element", "text", "rules"),
    [
        ("SectionAlignment", "128", {ALIGN}),
        ("MergeSections", ".rdata=.text", {IAT}),
        ("SpecifySectionAttributes", ".x,ERW", {SECTION}),
    ],
)
def test_linker_properties(tmp_path, element, text, rules):
    assert bad(linked(tmp_path, text, element)) == rules


def test_linker_findings_name_the_line_and_the_configuration(tmp_path):
    (finding,) = result(linked(tmp_path, "/ALIGN:0x80"), ALIGN).findings
    text = (tmp_path / "a.vcxproj").read_text().splitlines()
    assert "AdditionalOptions" in text[finding.site.line - 1]
    assert "Release|x64" in finding.message


def test_settings_of_user_mode_projects_do_not_count(tmp_path):
    extra = definitions("/ALIGN:0x80", element="AdditionalOptions", item="Link")
    project = vcxproj("a.c", type="Application", driver="", extra=extra)
    assert not bad(read(lay(tmp_path, a__c=CLEAN.replace("ntddk", "windows"), a__vcxproj=project)))


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("DRIVER_ALIGNMENT=0x80", {ALIGN}),
        ("LINKER_FLAGS=/SECTION:.x,ERW", {SECTION}),
        ("LINKER_FLAGS=$(LINKER_FLAGS) \\\n  /MERGE:.rdata=.text", {IAT}),
        ("# DRIVER_ALIGNMENT=0x80", set()),
    ],
)
def test_sources_files(tmp_path, line, rules):
    makefile = f"TARGETTYPE=DRIVER\n{line}\nSOURCES=a.c\n"
    assert bad(read(lay(tmp_path, a__c=CLEAN, sources=makefile))) == rules


def test_a_makefile_beside_sources(tmp_path):
    makefile = "TARGETTYPE=DRIVER\nSOURCES=a.c\n"
    lay(tmp_path, a__c=CLEAN, sources=makefile, makefile__inc="LINKER_FLAGS=/ALIGN:64\n")
    assert bad(read(tmp_path)) == {ALIGN}


def test_cmake(tmp_path):
    text = (
        "wdk_add_driver(d a.c)\ntarget_link_options(d PRIVATE /ALIGN:0x80) # /MERGE:.data=.text\n"
    )
    text += "target_compile_definitions(d PRIVATE POOL_NX_OPTIN_AUTO=1)\n"
    evidence = read(lay(tmp_path, a__c=entry(CALL), CMakeLists__txt=text))
    assert bad(evidence) == {ALIGN}


def test_an_inf_names_versions_and_binaries(tmp_path):
    inf = "[Manufacturer]\n%M%=M,NTamd64.10.0...17763\n[S]\nServiceBinary=%13%\\d.sys\n"
    evidence = read(lay(tmp_path, a__c=CLEAN, d__inf=inf))
    assert {(one.name, one.value) for one in evidence.settings} >= {
        ("ServiceBinary", "%13%\\d.sys"),
        ("INF target", "10.0.17763"),
    }


def test_empty_lines_of_an_inf_cost_little(tmp_path):
    inf = "[S]\nServiceBinary=%13%\\d.sys\n" + "\n" * 60_000 + "End"
    with Clock() as clock:
        evidence = read(lay(tmp_path, a__c=CLEAN, d__inf=inf))
    assert clock.seconds < 5
    assert "ServiceBinary" in {one.name for one in evidence.settings}


def test_without_a_project_linker_settings_are_not_known(tmp_path):
    evidence = one_file(tmp_path, CLEAN)
    assert result(evidence, SECTION).outcome is Outcome.UNDECIDED
    assert result(linked(tmp_path, ""), SECTION).outcome is Outcome.PASS


# ---- pragmas and behaviour


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ('#pragma comment(linker, "/section:stub_code,EWP")', {SECTION}),
        ('#pragma comment(linker, "/SECTION:" ".x,ERW")', {SECTION}),
        ('#pragma section(".thunk", read, write, execute)', {SECTION}),
        ('#pragma section(".thunk", read, write)', set()),
        ('#pragma code_seg("PAGE")', set()),
        ('// #pragma comment(linker, "/SECTION:.x,ERW")', set()),
        ('#if 0\n#pragma comment(linker, "/SECTION:.x,ERW")\n#endif', set()),
    ],
)
def test_pragmas(tmp_path, line, rules):
    assert bad(one_file(tmp_path, line + "\n" + CLEAN)) == rules


WRITES, DYNAMIC, IMAGE = "writes-executable-memory", "dynamic-code", "data-file-as-executable"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("VOID f(VOID) { __writecr0(__readcr0() & ~0x10000); }", {WRITES}),
        ("VOID f(VOID) { __asm { mov eax, cr0\n and eax, 0xFFFEFFFF\n mov cr0, eax } }", {WRITES}),
        ("VOID f(VOID) { __asm mov cr0, eax\n }", {WRITES}),
        ("VOID f(VOID) { __asm { mov eax, cr0 } }", set()),
        ("VOID f(VOID) { ULONG_PTR cr0 = __readcr0(); }", set()),
        ("VOID g(VOID) {}\nVOID f(VOID) { *(PUCHAR)g = 0xC3; }", {WRITES}),
        ("VOID f(PUCHAR g) { *(PUCHAR)g = 0xC3; }", set()),
        ("VOID g(VOID) {}\nVOID f(VOID) { memcpy((PVOID)g, Stub, 8); }", {WRITES}),
        (
            "VOID f(VOID) { PVOID c = ExAllocatePoolWithTag(PagedPool, 9, 'a'); ((FN)c)(); }",
            {DYNAMIC},
        ),
        ("VOID f(FN c) { ((FN)c)(); }", set()),
        ("VOID f(VOID) { ZwCreateSection(&h, 1, 0, 0, PAGE_READONLY, SEC_IMAGE, f); }", {IMAGE}),
        ("VOID f(VOID) { ZwCreateSection(&h, 1, 0, 0, 2, SEC_IMAGE_NO_EXECUTE, f); }", set()),
    ],
)
def test_behaviour(tmp_path, text, rules):
    assert {fact.rule for fact in one_file(tmp_path, text).behaviours} == rules


def test_assembly_files(tmp_path):
    text = "; mov cr0, rbx\nHOT SEGMENT READ WRITE EXECUTE\n mov cr0, rax\n ret\nHOT ENDS\nEND\n"
    evidence = read(lay(tmp_path, a__asm=text, b__c=CLEAN))
    ((rule, line),) = [(fact.rule, fact.site.line) for fact in evidence.behaviours]
    assert (rule, line) == (WRITES, 3)
    assert bad(evidence) >= {SECTION}


# ---- swapped constants


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("p = ExAllocatePoolWithTag(POOL_FLAG_NON_PAGED, 8, 'a');", Outcome.FAIL),
        ("p = ExAllocatePool2(NonPagedPoolNx, 8, 'a');", Outcome.NOTE),
        ("p = ExAllocatePool2(PagedPool, 8, 'a');", Outcome.NOTE),
        ("p = ExAllocatePool2(POOL_FLAG_PAGED, 8, 'a');", Outcome.PASS),
        ("p = ExAllocatePoolWithTag(PagedPool, 8, 'a');", Outcome.PASS),
        ("p = ExAllocatePoolWithTag(1, 8, 'a');", Outcome.PASS),
    ],
)
def test_swapped_constants(tmp_path, statement, outcome):
    assert result(one_file(tmp_path, entry(statement)), "wrong-pool-enum").outcome is outcome


# ---- suppressions


@pytest.mark.parametrize(
    ("before", "after", "suppressed"),
    [
        ("#pragma warning(suppress: 30030)\n", "", True),
        ("#pragma warning(suppress: 28118 30030)\n", "", True),
        ("#pragma warning(disable: 30030)\n", "", True),
        ("#pragma warning(push)\n#pragma warning(disable: 30030)\n", "#pragma warning(pop)", True),
        (
            "#pragma warning(push)\n#pragma warning(disable: 30030)\n#pragma warning(pop)\n",
            "",
            False,
        ),
        ('#pragma prefast(suppress: 30030, "needed")\n', "", True),
        ("#pragma prefast(suppress: __WARNING_BANNED_MEM_ALLOCATION_UNSAFE)\n", "", True),
        ("#pragma warning(suppress: 28118)\n", "", False),
        ("// hvci: allow(execute-pool-type) thunks live here\n", "", True),
        ("", " // hvci: allow(execute-pool-type) thunks live here", True),
        ("/* hvci: allow(nx-opt-in, execute-pool-type) both */\n", "", True),
        ("// hvci: allow(section-alignment) another\n", "", False),
        ("// hvci: allow(execute-pool-type) x\nint y;\n", "", False),
    ],
)
def test_suppressions(tmp_path, before, after, suppressed):
    evidence = one_file(tmp_path, f"VOID f(VOID)\n{{\n{before}{CALL}{after}\n}}\n")
    found = result(evidence, "execute-pool-type")
    assert found.outcome is Outcome.FAIL
    (finding,) = found.findings
    assert (finding.suppressed is not None) == suppressed
    assert ("execute-pool-type" in bad(evidence)) == (not suppressed)


def test_a_suppression_says_where_and_why(tmp_path):
    text = f"VOID f(VOID) {{\n  // hvci: allow(execute-pool-type) thunks live here\n  {CALL}\n}}"
    (finding,) = result(one_file(tmp_path, text), "execute-pool-type").findings
    assert finding.suppressed.reason == "thunks live here"
    assert "line 2" in finding.suppressed.by


def test_a_suppression_covers_the_next_statement_only(tmp_path):
    call = CALL.replace(", 8", ",\n  8")
    text = f"VOID f(VOID) {{\n#pragma warning(suppress: 30030)\n  q =\n  {call}\n  {CALL}\n}}"
    findings = result(one_file(tmp_path, text), "execute-pool-type").findings
    assert [one.suppressed is not None for one in findings] == [True, False]


# ---- the opt-in as a whole


def test_a_runtime_call_without_the_macro_is_named(tmp_path):
    text = entry(f"ExInitializeDriverRuntime(DrvRtPoolNxOptIn);\n{CALL}")
    (finding,) = result(one_file(tmp_path, text), "nx-opt-in").findings
    assert "does nothing" in finding.message
    assert text.splitlines()[finding.site.line - 1].strip().startswith("ExInitializeDriverRuntime")


def test_a_macro_without_the_runtime_call_is_named_once(tmp_path):
    project = vcxproj("a.c", extra=definitions("POOL_NX_OPTIN=1"))
    lay(tmp_path, a__c=entry(CALL + CALL), a__vcxproj=project)
    (finding,) = result(read(tmp_path), "nx-opt-in").findings
    assert finding.site.path.endswith("a.vcxproj")
    assert "never called" in finding.message


def test_an_opt_in_that_no_call_needs_is_not_judged(tmp_path):
    text = "#define POOL_NX_OPTIN 1\n" + entry("p = ExAllocatePool2(POOL_FLAG_PAGED, 1, 'a');")
    assert not shown(one_file(tmp_path, text))


def test_item_definitions_hold_for_items_before_them(tmp_path):
    late = definitions("POOL_NX_OPTIN_AUTO=1", condition="'$(Platform)'=='x64'")
    project = vcxproj("a.c").replace("</Project>", late + "</Project>")
    assert not bad(read(lay(tmp_path, a__c=entry(CALL), a__vcxproj=project)))


def test_items_have_their_own_definitions(tmp_path):
    own = "<PreprocessorDefinitions>X;%(PreprocessorDefinitions)</PreprocessorDefinitions>"
    item = f'<ClCompile Include="a.c">{own}</ClCompile>'
    project = vcxproj("b.c", extra=definitions("POOL_NX_OPTIN_AUTO=1"))
    project = project.replace('<ClCompile Include="b.c" />', item)
    assert not bad(read(lay(tmp_path, a__c=entry(CALL), a__vcxproj=project)))
    other = project.replace("X;%(PreprocessorDefinitions)", "X")
    assert bad(read(lay(tmp_path, a__vcxproj=other))) == {"execute-pool-type"}


@pytest.mark.parametrize(
    ("argument", "sure"),
    [
        ("__readcr0() & ~0x10000", "likely"),
        ("value & 0xFFFFFFFFFFFEFFFF", "likely"),
        ("__readcr0() | 0x10000", "possible"),
        ("saved", "possible"),
        ("__readcr0() & ~(1 << 16)", "likely"),
        ("__readcr0() & ~CR0_WP", "likely"),
        ("__readcr0() & ~0x8ULL", "possible"),
        ("__readcr0() & ~(1 << 3)", "possible"),
        ("(c.WP = 0, c.all)", "likely"),
        ("(c.bits.WriteProtect = FALSE, c.all)", "likely"),
        ("(c.bits.WriteProtect = TRUE, c.all)", "possible"),
        ("(_bittestandreset64(&c, 16), c)", "likely"),
        ("(_bittestandreset64(&c, 3), c)", "possible"),
    ],
)
def test_setting_cr0_back_is_no_fault(tmp_path, argument, sure):
    evidence = one_file(tmp_path, f"VOID f(VOID) {{ __writecr0({argument}); }}")
    ((confidence),) = [fact.confidence for fact in evidence.behaviours]
    assert confidence == sure


def test_what_the_text_shows_can_fail_a_rule_about_code(tmp_path):
    text = "VOID f(VOID) {{ __writecr0({}); }}"
    cleared = result(one_file(tmp_path, text.format("c & ~0x10000")), WRITES)
    assert cleared.outcome is Outcome.FAIL
    restored = result(one_file(tmp_path, text.format("saved")), WRITES)
    assert restored.outcome is Outcome.NOTE
    assert [one.outcome for one in restored.findings] == [Outcome.NOTE]
