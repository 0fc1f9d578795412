"""Instructions that the engine gets wrong are executed beside it; the others are named."""

import pytest
from click.testing import CliRunner

from hvci.evaluate import Options, evaluate
from hvci.model import Counter, Outcome, Tier
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
from patched import BUILT, starts_with

SHAPES = (
    *("x64.vex", "x64.wide", "x64.cr8", "x64.smap", "x86.smap", "x64.prefixed"),
    *("arm64.atomics", "arm64.protected"),
)
RETURN = {"x64": b"\xc3", "x86": b"\xc2\x08\x00", "arm64": (0xD65F03C0).to_bytes(4, "little")}


def image(name):
    return (BUILT / f"{name}.sys").read_bytes()


def code(machine, text):
    """The run of a driver that starts with these bytes."""
    driver = f"calls_clean.{machine}.o2.sys"
    data = starts_with(driver, bytes.fromhex(text) + RETURN[machine])
    return run_here(data, VerifierOptions(force=False))


def status(run):
    entry = run.driver_entry
    assert (entry.outcome.ending, entry.tier) == ("returned", Tier.NATURAL)
    return entry.outcome.status


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "count"), [("bad", 1), ("clean", 0)])
def test_the_driver_comes_by_itself_to_the_call_behind_the_instruction(shape, kind, count):
    run = run_here(image(f"processor_{kind}.{shape}"), VerifierOptions())
    assert status(run) == 0
    assert run.counters[Counter.EXECUTE_POOL_TYPE] == count
    assert run.unsupported == run.limits == ()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "outcome"), [("bad", Outcome.FAIL), ("clean", Outcome.PASS)])
def test_both_readers_agree_on_the_call_behind_the_instruction(shape, kind, outcome):
    report = evaluate(image(f"processor_{kind}.{shape}"), Options(verify=True))
    found = {result.rule: result.outcome for result in report.results}
    assert found["execute-pool-type"] is outcome
    assert report.verifier["agreement"]["agreed"] == 1
    assert report.verifier["not_executed"] == []


@pytest.mark.parametrize(
    ("text", "result"),
    [
        # mov eax, 5; hlt
        ("b805000000 f4", 5),
        # mov eax, -1; rdpmc; add eax, edx
        ("b8ffffffff 0f33 01d0", 0),
        # mov eax, 5; vmovd xmm1, eax; vpaddd xmm2, xmm1, xmm1; vmovd eax, xmm2
        ("b805000000 c5f96ec8 c5f1fed1 c5f97ed0", 10),
        # the same with 256 bits, a broadcast and the upper lane
        ("b807000000 c5f96ec8 c4e27d58d1 c5edfed2 c4e37d39d001 c5f877 c5f97ec0", 14),
        # vpxor, vpcmpeqd, vpmovmskb of 256 bits
        ("c5f5efc9 c5f576d1 c5fdd7c2", 0xFFFF_FFFF),
        # pshufb of legacy SSSE3: the byte reversed into place
        ("b844332211 660f6ec0 660fefc9 660f3800c1 660f7ec0", 0x4444_4444),
        # vmovups through memory
        ("b809000000 c5f96ec8 c5f8114c24e0 c5f8105424e0 c5f97ed0", 9),
        # vptest sets the zero flag: setz
        ("c5f1efc9 c4e27d17c9 0f94c0 0fb6c0", 1),
        # rdpid: processor 0
        ("b8ffffffff f30fc7f8", 0),
        # mov eax, 3; mov cr8, rax; xor eax, eax; mov rax, cr8
        ("b803000000 440f22c0 31c0 440f20c0", 3),
        # a prefix 66 before: jmp over 2 bytes, jz taken and not, call, ret
        ("b801000000 66e902000000 31c0", 1),
        ("31c0 660f8405000000 b802000000", 0),
        ("31c0 660f8505000000 b802000000", 2),
        ("31c0 66e803000000 ffc0c3 ffc066c3", 2),
        # stac, clac, serialize, monitor, mwait, clflushopt, clwb, endbr64, rdsspq, pause, rep ret
        ("b804000000 0f01cb 0f01ca 0f01e8 660fae3c24 660fae3424 f30f1efa f390 f3c3", 4),
        # long no-operations, xgetbv, popcnt, lzcnt, tzcnt, movbe, andn, adcx, mulx
        ("31c9 0f01d0 83e003 660f1f840000000000", 3),
        # blsi of 12 and setc; bzhi below bit 31; pdep
        ("b80c000000 c4e278f3d8", 4),
        ("b80c000000 c4e270f3d8 0f92c0 0fb6c0", 1),
        ("b8ffffffff b91f000000 c4e270f5c0", 0x7FFF_FFFF),
        ("b805000000 b9f00f0000 c4e27bf5c1", 0x50),
        ("b8ff000000 f30fb8c0", 8),
        ("b801000000 f30fbdc0", 31),
        ("b808000000 f30fbcc0", 3),
    ],
)
def test_x64_instructions_give_what_the_manual_says(text, result):
    run = code("x64", text)
    assert status(run) == result
    assert run.unsupported == ()


@pytest.mark.parametrize("text", ["0fc7f0 7301 c3 31c0", "0fc7f8 7301 c3 31c0"])
def test_random_numbers_are_the_same_in_every_run(text):
    first, second = (status(code("x64", text)) for _ in range(2))
    assert first == second


def test_avx_works_on_x86_too():
    # vmovd xmm1, eax; vpaddd xmm2, xmm1, xmm1; vmovd eax, xmm2
    assert status(code("x86", "b805000000 c5f96ec8 c5f1fed1 c5f97ed0")) == 10


# x1: an address below the stack pointer with -5 in it
MINUS_FIVE = "e10300d1 218000d1 82008012 220000b9".replace("e10300d1", "e1030091")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        # mov w3, #7; ldsmax w3, w0, [x1]; ldr w0, [x1]
        ("e3008052 234020b8 200040b9".replace("234020b8", "204023b8"), 7),
        ("e3008052 205023b8 200040b9", 0xFFFF_FFFB),
        ("e3008052 2040e338 20004039", 7),
        ("e3008052 2050e378 20004079", 0xFFFB),
        # the old value comes back
        ("e3008052 204023b8", 0xFFFF_FFFB),
        # msr ssbs, #1; mrs x0, ssbs; dit; paciasp; autiasp
        ("3f4103d5 c0423bd5", 0),
        ("5f4103d5 a0423bd5 3f2303d5 bf2303d5", 0),
    ],
)
def test_arm64_instructions_give_what_the_manual_says(text, result):
    run = code("arm64", MINUS_FIVE + text)
    assert status(run) == result
    assert run.unsupported == ()


NAMED = [
    ("x64", "vfmadd213ss", "c4e271a9c2"),
    ("x64", "vpgatherdd", "c4e269900c18"),
    ("x64", "vpxord", "62f17d48efc0"),
    ("x64", "sha1nexte", "0f38c8c0"),
    ("x64", "xsavec", "0fc72424"),
    ("x64", "lsl", "0f03c1"),
    ("x86", "fcomi", "dbf0"),
    ("arm64", "ptrue", "e0e31825"),
    ("x86", "vpxord", "62f17d48efc0"),
]


@pytest.mark.parametrize(("machine", "name", "text"), NAMED)
def test_what_nobody_executes_is_named_and_ends_what_the_driver_does_by_itself(machine, name, text):
    run = code(machine, text)
    (found,) = run.unsupported
    assert (found.name, found.tier) == (name, Tier.NATURAL)
    assert run.driver_entry.tier is Tier.FORCED
    (limit,) = run.limits
    assert name in limit.reason
    assert limit.site.rva == found.rva


def test_a_run_that_was_cut_is_no_success(tmp_path):
    from hvci.cli import main

    driver = tmp_path / "cut.sys"
    driver.write_bytes(starts_with("calls_clean.x64.o2.sys", bytes.fromhex("31c00f38c8c0c3")))
    done = CliRunner().invoke(main, ["verify", "--no-force", str(driver)])
    assert done.exit_code == 3
    assert "sha1nexte" in done.output
    block = evaluate(str(driver), Options(verify=True)).verifier
    assert [row["instruction"] for row in block["not_executed"]] == ["sha1nexte"]


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        ("x64", "0f0b"),
        ("x64", "cd29"),
        ("x86", "0f0b"),
        ("arm64", "00000000"),
        ("arm64", "60003ed4"),
    ],
)
def test_what_raises_an_exception_ends_the_path_and_is_no_lack(machine, text):
    run = code(machine, text)
    assert run.driver_entry.outcome.ending == "stopped"
    assert run.unsupported == ()


def test_a_breakpoint_of_arm64_is_passed_as_on_x64():
    assert status(code("arm64", "60008052 00003ed4")) == 3


def test_a_refused_write_of_such_an_instruction_is_a_bug_check():
    # lea rax, [rip]; vmovups [rax], xmm0: into verified code
    run = code("x64", "488d0500000000 c5f81100")
    assert [event.bugcheck for event in run.events] == [0xBE]
    assert run.driver_entry.outcome.ending == "bug check"
