"""The routines of Windows that call a routine of the driver, with what it gave them or without.

Knows nothing of who calls them.
"""

from __future__ import annotations

from typing import NamedTuple


class Gives(NamedTuple):
    """Arguments, counted from 0."""

    routine: int
    context: int
    parameter: int
    """Of the routine: the one that gets the context."""
    wide: int = 0
    """How many before that have 64 bits, which x86 counts twice."""

    def position(self, bits: int) -> int:
        """Where the routine gets the context, in slots of the stack on x86."""
        return self.parameter + (self.wide if bits == 32 else 0)


GIVERS = {
    "PsCreateSystemThread": Gives(5, 6, 0),
    "IoCreateSystemThread": Gives(6, 7, 0),
    "IoQueueWorkItem": Gives(1, 3, 1),
    "IoQueueWorkItemEx": Gives(1, 3, 1),
    "IoTryQueueWorkItem": Gives(1, 3, 1),
    "KeInitializeDpc": Gives(1, 2, 1),
    "KeInitializeThreadedDpc": Gives(1, 2, 1),
    "KeInitializeApc": Gives(5, 7, 0),
    "KeIpiGenericCall": Gives(0, 1, 0),
    "KeExpandKernelStackAndCallout": Gives(0, 1, 0),
    "KeExpandKernelStackAndCalloutEx": Gives(0, 1, 0),
    "KeSynchronizeExecution": Gives(1, 2, 0),
    "IoConnectInterrupt": Gives(1, 2, 1),
    "IoInitializeTimer": Gives(1, 2, 1),
    "IoRegisterPlugPlayNotification": Gives(4, 5, 1),
    "IoSetCompletionRoutineEx": Gives(2, 3, 2),
    "ExAllocateTimer": Gives(0, 1, 1),
    "ExRegisterCallback": Gives(1, 2, 0),
    "PoRegisterPowerSettingCallback": Gives(2, 3, 3),
    "RtlRunOnceExecuteOnce": Gives(1, 2, 1),
    "PoRequestPowerIrp": Gives(3, 4, 3),
    "KeRegisterNmiCallback": Gives(0, 1, 0),
    "KeRegisterProcessorChangeCallback": Gives(0, 1, 0),
    "EtwRegister": Gives(1, 2, 6, wide=2),
    "CmRegisterCallback": Gives(0, 1, 0),
    "CmRegisterCallbackEx": Gives(0, 3, 0),
    "FltQueueGenericWorkItem": Gives(2, 4, 2),
    "NdisQueueIoWorkItem": Gives(1, 2, 0),
    "NdisInitializeTimer": Gives(1, 2, 1),
    "NdisMInitializeTimer": Gives(2, 3, 1),
}
"""The routines of Windows that call a routine of the driver with what it gave them."""
CALLERS = {
    **{name: (gives.routine,) for name, gives in GIVERS.items()},
    "ExInitializeLookasideListEx": (1, 2),
    "ExInitializeNPagedLookasideList": (1, 2),
    "ExInitializePagedLookasideList": (1, 2),
    "IoCreateDriver": (1,),
    "IoRegisterBootDriverReinitialization": (1,),
    "IoRegisterDriverReinitialization": (1,),
    "IoRegisterFsRegistrationChange": (1,),
    "IoRegisterFsRegistrationChangeEx": (1,),
    "KeGenericCallDpc": (0,),
    "KeInitializeApc": (3, 4, 5),
    "KeRegisterBugCheckCallback": (1,),
    "KeRegisterBugCheckReasonCallback": (1,),
    "PsSetCreateProcessNotifyRoutine": (0,),
    "PsSetCreateProcessNotifyRoutineEx": (0,),
    "PsSetCreateProcessNotifyRoutineEx2": (1,),
    "PsSetCreateThreadNotifyRoutine": (0,),
    "PsSetCreateThreadNotifyRoutineEx": (1,),
    "PsSetLoadImageNotifyRoutine": (0,),
    "PsSetLoadImageNotifyRoutineEx": (0,),
}
"""The routines of Windows that call a routine which they get -> which of their arguments that is.

Counted from 0, in slots of the stack on x86: none of 64 bits stands before them.
"""
