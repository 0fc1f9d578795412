"""What a team decided about its drivers: configuration, suppressions, baselines. No facts."""

from hvci.policy.apply import apply
from hvci.policy.baseline import Baseline, baseline_of, parse_baseline
from hvci.policy.config import (
    Level,
    Policy,
    Profile,
    Undecided,
    find_policy,
    parse_policy,
    read_policy,
)
from hvci.policy.gate import gate_of

__all__ = [
    "Baseline",
    "Level",
    "Policy",
    "Profile",
    "Undecided",
    "apply",
    "baseline_of",
    "find_policy",
    "gate_of",
    "parse_baseline",
    "parse_policy",
    "read_policy",
]
