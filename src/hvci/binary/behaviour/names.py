"""Names of imports that matter to behaviours; sources start from the same."""

from __future__ import annotations

from hvci.catalog.memory import (
    ALLOCATIONS,
    BLOCKS,
    CONTIGUOUS,
    COPIES,
    FILLS,
    MAPPINGS,
    POOL,
    PUT,
    PUT_POSITION,
    RESOLVERS,
    RETURNED,
    VIEWS,
    VIRTUAL,
    is_function,
    memory_of,
)

__all__ = [
    "ALLOCATIONS",
    "BLOCKS",
    "CONTIGUOUS",
    "COPIES",
    "FILLS",
    "MAPPINGS",
    "POOL",
    "PUT",
    "PUT_POSITION",
    "RESOLVERS",
    "RETURNED",
    "VIEWS",
    "VIRTUAL",
    "is_function",
    "memory_of",
]
