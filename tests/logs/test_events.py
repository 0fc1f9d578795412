"""Events, however they were saved: the same rows, one for each refused driver and check."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import eventfiles as files
from hvci.cli import main
from hvci.errors import InputError, UsageError
from hvci.logs import gather, refusals, to_lines
from hvci.logs.event_log import evtx_events
from hvci.logs.events import Event, xml_events
from hvci.model.gates import Effect, Gate

SEVEN = [
    files.hvci("image.sys"),
    files.signing("unsigned.sys"),
    files.policy("crossed.sys", files.DRIVER_POLICY),
    files.policy("listed.sys", files.BLOCK_LIST),
    files.policy("company.sys", files.OWN_POLICY),
    files.failed("blocked"),
    files.crash(0xFC, (0xFFFFF80112341000, 0x8A00000012345063, 1, 2)),
    files.crash(0x139, (0xA, 0xFFFFA00000001000, 0xFFFFA00000002000, 0)),
]
GATES = {
    "image.sys": Gate.IMAGE,
    "unsigned.sys": Gate.SIGNING,
    "crossed.sys": Gate.DRIVER_POLICY,
    "listed.sys": Gate.BLOCK_LIST,
    "company.sys": Gate.APP_CONTROL,
    "blocked.sys": Gate.COMPAT_DB,
}
FORMS = {
    "evtx": files.evtx,
    "wevtutil": lambda records: files.xml(records).encode(),
    "saved xml": lambda records: files.xml(records, "Events", rendered=True).encode("utf-16"),
    "event viewer": lambda records: files.viewer(records).encode(),
    "list": lambda records: files.listed(records).encode("utf-16"),
    "csv": lambda records: files.table(records).encode(),
    "german csv": lambda records: files.table(
        records, "Ebene,Datum und Uhrzeit,Quelle,Ereignis-ID,Aufgabenkategorie"
    ).encode(),
    "export-csv": lambda records: files.exported(records).encode(),
    "json": lambda records: json.dumps(
        [{"Id": one.id, "ProviderName": one.provider, "Message": one.message} for one in records]
    ).encode(),
}


def rows(*parts, reports=()):
    gathered = gather(part if isinstance(part, bytes) else part.encode() for part in parts)
    return refusals(gathered.seen, gathered.computer, reports, gathered.signers)


def one(*records, form=files.xml):
    found = rows(form(records))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("form", FORMS)
def test_a_mixed_log_gives_one_gate_for_each_refusal(form):
    found = rows(FORMS[form](SEVEN))
    assert {row.driver: row.gate for row in found if row.driver} == GATES
    assert [row.gate for row in found if not row.driver] == [Gate.KERNEL_CFG, Gate.RUN]
    assert {row.effect for row in found if row.driver} == {Effect.REFUSED}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_the_same_of_the_image_check(form):
    (row,) = rows(FORMS[form]([files.hvci("x.sys", bitmap="0x40")]))
    assert (row.gate, row.effect, row.bitmap) == (Gate.IMAGE, Effect.REFUSED, "0x40")
    assert "status 0xC0000428" in row.evidence[0]
    assert "failure bitmap 0x40" in row.evidence[0]
    assert row.layouts == ()


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(("id_", "effect"), [(3087, Effect.AUDIT), (3111, Effect.REFUSED)])
def test_every_version_of_the_image_events(version, id_, effect):
    row = one(files.hvci("x.sys", id_, version=version))
    assert (row.driver, row.gate, row.effect) == ("x.sys", Gate.IMAGE, effect)
    assert bool(row.bitmap) == bool(version)


def test_names_that_windows_printed_for_the_bitmap_are_kept():
    record = files.hvci("x.sys", bitmap="Invalid section alignment")
    for form in (files.xml, files.viewer):
        assert one(record, form=form).layouts == ("Invalid section alignment",)


@pytest.mark.parametrize("id_", [3072, 3073])
def test_warnings_of_the_image_check_join_the_refusal(id_):
    data = {"FileNameLength": "9", "FileNameBuffer": files.FOLDER + "x.sys"}
    warning = files.Record(files.CI, id_, data)
    row = one(warning, files.hvci("x.sys"))
    assert (row.gate, row.effect, len(row.evidence)) == (Gate.IMAGE, Effect.REFUSED, 2)
    assert one(warning).effect is Effect.AUDIT


@pytest.mark.parametrize("version", [0, 3, 4, 5])
@pytest.mark.parametrize(
    ("guid", "gate"),
    [
        (files.DRIVER_POLICY, Gate.DRIVER_POLICY),
        (files.EVALUATION, Gate.DRIVER_POLICY),
        (files.BLOCK_LIST, Gate.BLOCK_LIST),
        (files.OWN_POLICY, Gate.APP_CONTROL),
    ],
)
@pytest.mark.parametrize("form", [files.xml, files.viewer, lambda r: files.xml(r, rendered=True)])
def test_the_policy_id_names_the_gate_and_never_memory_integrity(version, guid, gate, form):
    record = files.policy("x.sys", guid, version=version)
    row = one(record, form=form)
    if version < 4 and form is files.xml:
        # Before version 4 the id stands in the message only, which plain XML does not hold.
        assert row.gate is None
        assert "which alone names the check" in row.evidence[0]
        return
    assert row.gate is gate
    assert f"policy {{{guid}}}" in row.evidence[0]


def test_an_audit_of_a_policy_is_no_refusal():
    row = one(files.policy("x.sys", files.EVALUATION, 3076))
    assert (row.gate, row.effect) == (Gate.DRIVER_POLICY, Effect.AUDIT)
    assert next(to_lines([row])).startswith("x.sys: loaded, but would be refused by Windows Driver")


def test_what_several_checks_leave_joins_the_one_that_is_named():
    signing = files.Record(
        files.CI,
        3033,
        {"FileNameBuffer": files.FOLDER + "x.sys", "RequestedSigningLevel": "2"},
    )
    row = one(signing, files.policy("x.sys", files.DRIVER_POLICY), files.failed("x", "0xC0E90002"))
    assert (row.gate, len(row.evidence)) == (Gate.DRIVER_POLICY, 3)
    alone = one(files.failed("x", "0xC0000001"))
    assert (alone.gate, alone.effect) == (None, Effect.REFUSED)
    assert "CodeIntegrity/Operational" in alone.todo


@pytest.mark.parametrize(
    ("status", "gate"),
    [
        ("0xC0000428", Gate.SIGNING),
        ("0xC000036B", Gate.COMPAT_DB),
        ("0xC000036C", Gate.COMPAT_DB),
        ("3221226348", Gate.COMPAT_DB),
        ("-1073740948", Gate.COMPAT_DB),
        ("0xC0000365", None),
        ("0xC0000001", None),
        ("", None),
    ],
)
def test_the_status_of_event_219_names_the_gate(status, gate):
    assert one(files.failed("x", status)).gate is gate


def test_a_policy_event_without_its_id_names_no_check():
    level = files.Record(files.CI, 3033, {"FileNameBuffer": files.FOLDER + "x.sys"})
    unnamed = files.policy("x.sys", files.DRIVER_POLICY, version=3)
    assert one(level, unnamed).gate is None
    assert one(level).gate is Gate.SIGNING


def test_two_checks_of_one_driver_are_two_rows():
    found = rows(files.xml([files.hvci("x.sys"), files.policy("x.sys", files.DRIVER_POLICY)]))
    assert [row.gate for row in found] == [Gate.DRIVER_POLICY, Gate.IMAGE]


def test_the_signature_joins_its_event_by_the_correlation():
    activity = "4bbf743e-edd2-0001-45a1-c04bd2edda01"
    signature = files.Record(files.CI, 3089, {"PublisherName": "Some Maker"}, activity=activity)
    other = files.Record(files.CI, 3089, {"PublisherName": "Other"}, activity=activity[::-1])
    event = files.policy("x.sys", files.DRIVER_POLICY, activity=activity)
    for form in (files.xml, files.evtx):
        (row,) = rows(form([other, signature, event]))
        assert row.signer == "Some Maker"


def test_programs_for_user_mode_are_counted_and_left_out():
    gathered = gather(
        [files.xml([files.policy("tool.exe", files.OWN_POLICY, scenario="1")]).encode()]
    )
    assert (gathered.seen, gathered.programs, gathered.is_empty) == ((), 1, False)
    kernel = one(files.policy("odd.bin", files.OWN_POLICY, scenario="0"))
    assert kernel.driver == "odd.bin"


@pytest.mark.parametrize(
    ("message", "level", "effect"),
    [
        ("The driver requested executable pool memory", "0", Effect.AUDIT),
        ("Code Integrity Issue: executable MDL mapping", "0x0", Effect.AUDIT),
        ("Code Integrity Issue: executable MDL mapping", "0xf4240", Effect.NOTE),
        ("Registry operations should not use absolute paths", "0", None),
    ],
)
def test_only_rules_of_code_integrity_are_about_it(message, level, effect):
    data = {"RuleId": "0x1", "ErrorMessage": message, "Module": "\\x\\d.sys", "ErrorLevel": level}
    found = rows(files.xml([files.Record(files.XDV, 4, data)]))
    assert [row.effect for row in found] == ([] if effect is None else [effect])
    assert all(row.gate is Gate.RUN for row in found)


@pytest.mark.parametrize(("error", "gate"), [("577", Gate.SIGNING), ("4551", None), ("1275", None)])
def test_a_service_that_did_not_start(error, gate):
    record = files.Record(files.SCM, 7000, {"param1": "mydrv", "param2": f"%%{error}"})
    row = one(record)
    assert (row.driver, row.gate) == ("mydrv.sys", gate)
    assert rows(files.xml([files.Record(files.SCM, 7000, {"param1": "a", "param2": "%%2"})])) == ()
    assert rows(files.xml([files.Record(files.SCM, 7026, {"param1": "a b"})])) == ()


def test_quoted_messages_need_no_id():
    text = "my log says:\n" + "\n".join(
        record.message
        for record in (
            files.hvci("a.sys"),
            files.policy("b.sys", files.EVALUATION, 3076),
            files.signing("c.sys"),
            files.failed("d"),
        )
    )
    found = {row.driver: (row.gate, row.effect) for row in rows(text)}
    assert found == {
        "a.sys": (Gate.IMAGE, Effect.REFUSED),
        "b.sys": (Gate.DRIVER_POLICY, Effect.AUDIT),
        "c.sys": (Gate.SIGNING, Effect.REFUSED),
        "d.sys": (Gate.COMPAT_DB, Effect.REFUSED),
    }


def test_a_status_that_a_list_folded_is_no_other_number():
    text = files.viewer([files.hvci("a.sys")]).replace("0xC0000428", "0xC0000\n428")
    (row,) = rows(text)
    assert "status" not in row.evidence[0]


GERMAN = (
    "Protokollname: Microsoft-Windows-CodeIntegrity/Operational\n"
    "Quelle:        Microsoft-Windows-CodeIntegrity\nDatum:         28.11.2026 10:00:00\n"
    "Ereignis-ID:   3077\nEbene:         Fehler\nBeschreibung:\n"
    "Die Codeintegrit\u00e4t hat festgestellt, dass ein Prozess (System) versucht hat, "
    f"{files.FOLDER}x.sys zu laden, das nicht den Anforderungen "
    f"(Richtlinien-ID:{{{files.DRIVER_POLICY.lower()}}}) entspricht.\n"
)
STARTED = "\n".join(
    f"Message      : {files.hvci(f'{name}.sys').message}\nId           : 3111\n"
    f"ProviderName : Microsoft-Windows-CodeIntegrity\nTimeCreated  : {time}\n"
    for name, time in (("a", "10:00"), ("b", "11:00"))
)


def test_event_viewer_in_another_language():
    (row,) = rows(GERMAN)
    assert (row.driver, row.gate) == ("x.sys", Gate.DRIVER_POLICY)


def test_each_event_of_a_full_list_keeps_its_time():
    first, second = rows(STARTED)
    assert ("10:00" in first.evidence[0], "11:00" in second.evidence[0]) == (True, True)


@pytest.mark.parametrize(
    ("problem", "status", "gate"),
    [
        ("0x27", "0xC000036B", Gate.COMPAT_DB),
        ("0x34", "0xC0000428", Gate.SIGNING),
        ("0x30", "0x0", Gate.COMPAT_DB),
        ("0x27", "0xC0000001", None),
        ("0x1F", "0xC0000001", "no row"),
        ("?", "?", "no row"),
    ],
)
@pytest.mark.parametrize("form", [files.xml, files.viewer, files.evtx])
def test_a_device_that_did_not_start(problem, status, gate, form):
    data = {
        "DeviceInstanceId": "USB\\VID_1",
        "DriverName": "oem12.inf",
        "ServiceName": "thing",
        "Problem": problem,
        "Status": status,
    }
    text = (
        "Device USB\\VID_1 had a problem starting. Driver Name: oem12.inf Service: thing "
        f"Problem: {problem} Problem Status: {status}"
    )
    found = rows(form([files.Record(files.PNP, 411, data, text)]))
    if gate == "no row":
        assert found == ()
        return
    (row,) = found
    assert (row.driver, row.gate, row.package) == ("thing.sys", gate, "oem12.inf")


def test_a_row_of_a_table_is_read():
    text = f"11/28/2026 10:00:00 AM  3111 Error  {files.hvci('a.sys').message}"
    assert [row.gate for row in rows(text)] == [Gate.IMAGE]


def test_event_viewer_s_copy_with_xml_is_one_event():
    record = files.hvci("a.sys")
    folded = files.to_xml(record).replace("><", ">\n- <")
    text = f"{files.viewer([record])}\nEvent Xml:\n{folded}\n"
    assert len(one(record, form=lambda _: text).evidence) == 1


def test_other_logs_beside_events_are_read_as_well():
    text = files.xml([files.hvci("a.sys")]) + "\nBugCheck FC, {1, 2, 3, 4}\n"
    gathered = gather([text.encode()])
    assert [entry.code for entry in gathered.log.entries] == [0xFC]
    assert len(rows(text)) == 2


def test_events_of_other_providers_with_the_same_id_are_none():
    assert rows(files.xml([files.Record("Tcpip", 219, {"a": "x.sys"})])) == ()
    assert rows(files.xml([files.Record(files.CI, 3099, {"a": "x.sys"})])) == ()


@pytest.mark.parametrize("text", ["[1, null]", "{", "[" * 5000, '{"Id": 3111}', '{"Id": "x"}'])
def test_odd_json_is_no_refusal(text):
    assert rows(text) == ()


POWER = {"BugcheckCode": "252", "BugcheckParameter1": "0xfffff80112341000"}
REPORT = {"EventName": "BlueScreen", "P1": "fc", "P2": "fffff80112341000", "P3": "1", "P4": "2"}


@pytest.mark.parametrize(
    ("provider", "id_", "data"),
    [
        ("Microsoft-Windows-Kernel-Power", 41, POWER),
        ("Windows Error Reporting", 1001, REPORT),
        (files.WER, 1001, {"0": "0x000000fc (0xfffff80112341000, 0x1, 0x2, 0x3)"}),
    ],
)
@pytest.mark.parametrize("form", [files.xml, files.evtx])
def test_bug_checks_in_the_fields_of_events(provider, id_, data, form):
    text = form([files.Record(provider, id_, data)])
    gathered = gather([text if isinstance(text, bytes) else text.encode()])
    (crash,) = gathered.log.entries
    assert (crash.code, crash.parameters[0]) == (0xFC, 0xFFFFF80112341000)


def test_a_restart_without_a_bug_check_is_none():
    data = {"BugcheckCode": "0", "BugcheckParameter1": "0x0"}
    text = files.xml([files.Record("Microsoft-Windows-Kernel-Power", 41, data)])
    assert gather([text.encode()]).is_empty


@pytest.mark.parametrize(
    "text",
    [
        "<Event>",
        "<Event></Event>",
        "<Event><System/></Event>",
        "<Event><System><EventID>x</EventID></System></Event>",
        "<Event><System><EventID>123456</EventID></System></Event>",
        "<Event><System><EventID>3111</EventID></Event>",
        "<Event " * 1000 + "</Event>",
        "<Event>" + "x" * (1 << 20) + "</Event>",
        "<Event>" + "<a>" * 150_000 + "</a>" * 150_000 + "</Event>",
    ],
)
def test_damaged_xml_is_no_event(text):
    assert list(xml_events(text)) == []


def test_nothing_expands():
    bomb = '<!DOCTYPE Event [<!ENTITY a "aaaa">]>' + files.xml([files.hvci("&a;.sys")])
    assert [row.driver for row in rows(bomb)] == ["&a;.sys"]
    raw = bomb.replace("&amp;a;", "&a;")
    assert rows(raw) == ()


def test_user_data_is_read():
    text = (
        "<Event><System><Provider Name='Microsoft-Windows-CodeIntegrity'/><EventID>3111</EventID>"
        "</System><UserData><X><FileName>\\d\\x.sys</FileName></X></UserData></Event>"
    )
    (event,) = xml_events(text)
    assert event.get("file name") == "\\d\\x.sys"
    assert [row.driver for row in rows(text)] == ["x.sys"]


# ---------------------------------------------------------------------- .evtx


def test_a_damaged_event_log_is_one_sentence():
    whole = files.evtx(SEVEN)
    with pytest.raises(InputError, match="event log cannot be read"):
        list(evtx_events(b"ElfFile\0" + bytes(range(256))))
    for cut in (9, 200, 4096, 5000):
        try:
            list(evtx_events(whole[:cut]))
        except InputError as error:
            assert "\n" not in str(error)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), max_size=8))
def test_altered_event_logs_end_in_rows_or_one_sentence(changes):
    data = bytearray(files.evtx(SEVEN[:3]))
    for at, value in changes:
        data[at] = value
    if data.startswith(b"ElfFile\0"):
        try:
            assert len(rows(bytes(data))) <= 3
        except InputError as error:
            assert "\n" not in str(error)


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "evtx", None)
    with pytest.raises(UsageError, match=r"pip install evtx.*wevtutil"):
        list(evtx_events(files.evtx([])))


@given(st.text())
def test_any_text_gives_rows(text):
    list(to_lines(rows(text)))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=5), st.text())
def test_any_fields_give_rows(data, message):
    from hvci.logs.event_facts import seen

    for id_, provider in ((3111, files.CI), (219, files.PNP), (4, files.XDV), (7000, files.SCM)):
        list(seen(Event(provider, id_, data=data, message=message)))


# ---------------------------------------------------------------------- the command


def run(*args, **extra):
    return CliRunner().invoke(main, [str(arg) for arg in args], **extra)


def test_the_command_shows_rows_and_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ci.evtx").write_bytes(files.evtx(SEVEN))
    done = run("import-log", "ci.evtx")
    assert done.exit_code == 0, done.stderr
    assert "image.sys: refused by memory integrity: check of the image [image]" in done.stdout
    assert done.stdout.count("  next: ") == 8
    shown = json.loads(run("import-log", "ci.evtx", "--format", "json").stdout)
    assert {row["driver"]: row["gate"] for row in shown["refusals"] if row["driver"]} == {
        name: gate.value for name, gate in GATES.items()
    }
    assert len(shown["entries"]) == 2
    only = files.xml([files.Record("Tcpip", 1, {})])
    empty = run("import-log", "-", input=only)
    assert empty.exit_code == 4
    assert "none of the 1 events" in empty.stderr
    assert all(a <= b for a, b in pairwise(row["driver"] for row in shown["refusals"]))


def test_a_package_of_the_hlk_is_no_log():
    done = run("import-log", "-", input=b"PK\3\4 results")
    assert (done.exit_code, "export the log of the test as text" in done.stderr) == (4, True)


def test_long_logs_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr("hvci.logs.gathered.MAX_LINES", 4)
    monkeypatch.setattr("hvci.cli.import_log.MOST_SHOWN", 1)
    text = "".join(f"BugCheck FC, {{{number}, 2, 3, 4}}\n" for number in range(6))
    shown = run("import-log", "-", input=text).stdout
    assert "2 lines at the end of the log were not read" in shown
    whole = json.loads(run("import-log", "-", "-f", "json", "--compare", input=text).stdout)
    assert whole["left_out"] == ["2 lines at the end of the log were not read: too many"]
    assert whole["comparison"] != []
    assert "and 3 more; --format json has all" in shown
    programs = files.xml([files.policy("tool.exe", files.OWN_POLICY, scenario="1")])
    assert (
        "1 events about files that are no drivers" in run("import-log", "-", input=programs).stdout
    )


@pytest.mark.parametrize("form", [files.xml, files.viewer, files.exported])
def test_events_of_several_computers_are_told(form):
    """What one of them refused says nothing of a driver of that name on the other."""
    one, other = (replace(files.hvci("a.sys"), computer=name) for name in ("pc1.local", "PC2"))
    logs = [form([one]).encode(), form([replace(one, computer="PC1"), other]).encode()]
    gathered = gather(logs)
    assert gathered.computers == ("PC1", "PC2")
    (told,) = (fact for fact in gathered.computer.facts if "computers" in fact)
    assert told.startswith("the logs are of 2 computers (PC1, PC2)")
    alone = gather(logs[:1])
    assert (alone.computers, alone.computer.facts) == (("PC1",), ())


@pytest.mark.parametrize(
    ("line", "others"),
    [
        ("System Name\tPC2", ["PC2"]),
        ("Host Name:                 pc2", ["PC2"]),
        ("PSComputerName            : PC2", ["PC2"]),
        ("PSComputerName            : localhost", []),
        ("System Name\tLONGNAMEOFACOMP", []),
        ("System Name\tLONGNAMEOFACOMX", ["LONGNAMEOFACOMX"]),
    ],
)
def test_a_list_of_another_computer_is_told(line, others):
    """It says whether memory integrity runs, and which packages there are, on that one only."""
    event = replace(files.hvci("a.sys"), computer="LongNameOfAComputer.local")
    listed = f"{line}\nSecurityServicesRunning : {{2}}\n"
    gathered = gather([files.xml([event]).encode(), listed.encode()])
    assert gathered.computers == ("LONGNAMEOFACOMPUTER", *others)
    assert any("logs are of 2 computers" in one for one in gathered.computer.facts) is bool(others)
