"""Logs of the real thing: `!verifier`, the readiness tool, WinDbg, hvciscan. Evaluates nothing."""

from hvci.logs.crashes import Crash
from hvci.logs.join import Joined, join, to_text
from hvci.logs.parse import Counted, Listed, Log, decode_text, parse_log

__all__ = [
    "Counted",
    "Crash",
    "Joined",
    "Listed",
    "Log",
    "decode_text",
    "join",
    "parse_log",
    "to_text",
]
