"""What hvci knows about DDIs and values: our own data files, checked by meaning at load."""

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
from hvci.catalog.prototypes import (
    Prototype,
    Returns,
    parse_prototypes,
    parse_x86_stack,
    prototype,
    prototypes,
    x86_bytes,
)
from hvci.catalog.shipped import Shipped, ddis, exports
from hvci.catalog.values import Family, Test, ValueRule, families, parse_values, value_rules

__all__ = [
    "SEED_ROWS",
    "Binding",
    "Ddi",
    "Family",
    "OptIn",
    "Parameter",
    "Prototype",
    "Replacement",
    "Returns",
    "Shipped",
    "Test",
    "ValueRule",
    "VerifierEffect",
    "ddis",
    "exports",
    "families",
    "parse_ddis",
    "parse_prototypes",
    "parse_values",
    "parse_x86_stack",
    "prototype",
    "prototypes",
    "value_rules",
    "x86_bytes",
]
