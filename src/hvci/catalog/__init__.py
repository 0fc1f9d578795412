"""What hvci knows about DDIs and values: our own data files, checked by meaning at load."""

from hvci.catalog.ddis import (
    SEED_ROWS,
    Binding,
    Ddi,
    OptIn,
    Parameter,
    Replacement,
    VerifierEffect,
    ddis,
    exports,
    parse_ddis,
)
from hvci.catalog.values import Family, Test, ValueRule, families, parse_values, value_rules

__all__ = [
    "SEED_ROWS",
    "Binding",
    "Ddi",
    "Family",
    "OptIn",
    "Parameter",
    "Replacement",
    "Test",
    "ValueRule",
    "VerifierEffect",
    "ddis",
    "exports",
    "families",
    "parse_ddis",
    "parse_values",
    "value_rules",
]
