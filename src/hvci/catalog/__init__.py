"""What hvci knows about DDIs and values: our own data files, checked by meaning at load."""

from hvci.catalog.compilers import compiler_macros, parse_compilers
from hvci.catalog.ddis import (
    SEED_ROWS,
    Binding,
    Ddi,
    OptIn,
    Parameter,
    Replacement,
    VerifierEffect,
    parse_ddis,
)
from hvci.catalog.libraries import (
    Library,
    Place,
    Routine,
    libraries,
    parse_libraries,
    parse_routines,
    routines,
)
from hvci.catalog.macros import HiddenCall, hidden_calls, parse_macros
from hvci.catalog.prototypes import (
    Prototype,
    Returns,
    parse_prototypes,
    parse_x86_stack,
    prototype,
    prototypes,
    x86_bytes,
)
from hvci.catalog.shipped import Shipped, ddis, exports, with_line
from hvci.catalog.values import Family, Test, ValueRule, families, parse_values, value_rules

__all__ = [
    "SEED_ROWS",
    "Binding",
    "Ddi",
    "Family",
    "HiddenCall",
    "Library",
    "OptIn",
    "Parameter",
    "Place",
    "Prototype",
    "Replacement",
    "Returns",
    "Routine",
    "Shipped",
    "Test",
    "ValueRule",
    "VerifierEffect",
    "compiler_macros",
    "ddis",
    "exports",
    "families",
    "hidden_calls",
    "libraries",
    "parse_compilers",
    "parse_ddis",
    "parse_libraries",
    "parse_macros",
    "parse_prototypes",
    "parse_routines",
    "parse_values",
    "parse_x86_stack",
    "prototype",
    "prototypes",
    "routines",
    "value_rules",
    "with_line",
    "x86_bytes",
]
