"""Which parameter of a routine gets what a routine of Windows was given for it."""

from hvci.catalog.givers import CALLERS, GIVERS


def test_parameters_of_64_bits_take_two_slots_on_x86() -> None:
    etw = GIVERS["EtwRegister"]
    assert (etw.position(64), etw.position(32)) == (6, 8)
    dpc = GIVERS["KeInitializeDpc"]
    assert dpc.position(64) == dpc.position(32) == 1


def test_who_gives_a_context_calls_the_routine() -> None:
    assert all(gives.routine in CALLERS[name] for name, gives in GIVERS.items())
    assert CALLERS["KeInitializeApc"] == (3, 4, 5)
    assert CALLERS["PsSetLoadImageNotifyRoutine"] == (0,)
