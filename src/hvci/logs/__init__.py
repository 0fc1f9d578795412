"""Logs of the real thing: events, bug checks, counters, lists of a computer. Evaluates nothing."""

from hvci.logs.compare import Comparison, compared
from hvci.logs.crashes import Crash
from hvci.logs.gathered import Gathered, gather
from hvci.logs.join import Joined, join, to_text
from hvci.logs.parse import Counted, Listed, Log, decode_text, parse_log
from hvci.logs.refusals import refusals
from hvci.logs.rows import Refusal, as_json, to_lines

__all__ = [
    "Comparison",
    "Counted",
    "Crash",
    "Gathered",
    "Joined",
    "Listed",
    "Log",
    "Refusal",
    "as_json",
    "compared",
    "decode_text",
    "gather",
    "join",
    "parse_log",
    "refusals",
    "to_lines",
    "to_text",
]
