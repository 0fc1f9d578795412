"""What a team decided about its drivers: configuration, suppressions, baselines. No facts."""

from hvci.policy.apply import apply, exit_code
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

__all__ = [
    "Baseline",
    "Level",
    "Policy",
    "Profile",
    "Undecided",
    "apply",
    "baseline_of",
    "exit_code",
    "find_policy",
    "parse_baseline",
    "parse_policy",
    "read_policy",
]
