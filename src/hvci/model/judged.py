"""The ids of rules by what they judge: whoever could not look weakens all that it concerns."""

from __future__ import annotations

COUNTED_RULES = ("execute-page-mapping", "execute-page-protection", "execute-pool-type")
"""Arguments of calls, which a counter of the readiness test follows."""
OPT_IN_RULES = ("nx-opt-in",)
"""What all calls that take their value from the opt-in show together."""
CALL_RULES = (*COUNTED_RULES, *OPT_IN_RULES)
"""All that the arguments of calls decide."""
IMPORT_RULES = ("executable-by-default", *CALL_RULES)
"""What the imports and their calls show."""
BEHAVIOUR_RULES = ("data-file-as-executable", "dynamic-code", "writes-executable-memory")
"""What code does when it runs."""
CODE_RULES = (*IMPORT_RULES, *BEHAVIOUR_RULES)
"""All that code shows: what is open where code was not looked at."""
TEXT_RULES = (*CALL_RULES, *BEHAVIOUR_RULES)
"""All that source text shows of code: what is open where text was not looked at."""
LINK_RULES = ("execute-write-section", "iat-in-executable-section", "section-alignment")
"""How the image is laid out."""
HEADER_RULES = ("no-edition-for-machine", "section-without-access")
"""What the headers of an image tell whole: nothing weakens these."""
RELOCATION_RULES = ("unsupported-relocs",)
USER_ONLY = (
    "only programs for user mode are built here (applications, DLLs, UMDF drivers): memory "
    "integrity is about the kernel and asks nothing of them"
)
"""The limit of a target of which no part runs in the kernel."""
