"""Options that say which policy holds, and how a run under that policy goes.

Knows the order of things: policy file, then command line, then targets; renders nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import wraps
from pathlib import Path

import click

from hvci.cli.given import Apart, Trusted, symbol_folders
from hvci.errors import InputError, UsageError
from hvci.model import LAST_32_BIT, NEWEST, names_server, parse_version
from hvci.model.record import record
from hvci.policy import (
    Baseline,
    Policy,
    Profile,
    Undecided,
    apply,
    find_policy,
    parse_baseline,
    read_policy,
)
from hvci.report import Document, TargetError

Command = Callable[..., int]
Decorator = Callable[[Command], Command]

_ALL_EXCLUDED = "nothing was evaluated: `exclude` of the policy leaves all of it out"
BASELINE_FILE = "hvci-baseline.json"

_TARGET_OS: Decorator = click.option(
    "--target-os",
    metavar="VERSION",
    help='Oldest Windows the driver must work on, such as 10-1607, "Windows 11 22H2" or a build '
    f"number. [default: of the policy, else {NEWEST.slug}, for a 32-bit image {LAST_32_BIT.slug}]",
)
_CONFIG: Decorator = click.option(
    "--config",
    metavar="FILE",
    help="Policy file. [default: the nearest hvci.toml or pyproject.toml with [tool.hvci]]",
)
_NO_CONFIG: Decorator = click.option("--no-config", is_flag=True, help="Use no policy file.")
_PROFILE: Decorator = click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    help="What counts as failure. [default: of the policy, else default]",
)
_UNDECIDED: Decorator = click.option(
    "--undecided",
    type=click.Choice([choice.value for choice in Undecided]),
    help="Exit code of an undecided verdict: fail 1, tell 3, pass 0. [default: tell]",
)


def policy_options(command: Command) -> Command:
    """Add --target-os, --config, --no-config, --profile and --undecided."""
    return _TARGET_OS(_CONFIG(_NO_CONFIG(_PROFILE(_UNDECIDED(command)))))


_SELECT: Decorator = click.option(
    "--select",
    multiple=True,
    metavar="RULE",
    help="Only these rules decide the exit code and are listed (see hvci rules); the answers stay. "
    "Several with commas.",
)
_IGNORE: Decorator = click.option(
    "--ignore",
    multiple=True,
    metavar="RULE",
    help="These rules neither decide the exit code nor are listed; the answers stay.",
)


def selection_options(command: Command) -> Command:
    """Add --select and --ignore; the command gets the rules as `selection`."""

    @wraps(command)
    def with_selection(
        *args: object, select: tuple[str, ...], ignore: tuple[str, ...], **rest: object
    ) -> int:
        selection = (_rules("--select", select), _rules("--ignore", ignore))
        return command(*args, selection=selection, **rest)

    return _SELECT(_IGNORE(with_selection))


Selection = tuple[frozenset[str], frozenset[str]]
"""The rules that alone count, and those that do not."""


def _rules(option: str, words: tuple[str, ...]) -> frozenset[str]:
    """The rules that an option names, by id or by number such as HVCI2000."""
    from hvci.report.lines import code
    from hvci.rules import RULES

    numbers = {code(rule): rule for rule in RULES}
    named = [word.strip() for one in words for word in one.split(",")]
    chosen = [numbers.get(word.upper(), word) for word in named if word]
    if unknown := [word for word in chosen if word not in RULES]:
        from difflib import get_close_matches  # a start without a mistake does without

        close = get_close_matches(unknown[0], RULES, n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else "see hvci rules"
        raise UsageError(f"{option}: there is no rule {unknown[0]!r}; {hint}")
    return frozenset(chosen)


_CATALOG: Decorator = click.option(
    "--catalog",
    "catalogs",
    multiple=True,
    metavar="FILE",
    help="Signed catalog (.cat) that may list the drivers, or a folder of them; may be repeated.",
)
_BLOCKLIST: Decorator = click.option(
    "--blocklist",
    "blocklists",
    multiple=True,
    metavar="FILE",
    help="Does this list name the drivers? An App Control policy (.xml, .p7b, .cip) or LOLDrivers' "
    "JSON; may be repeated.",
)
_COMPAT_DB: Decorator = click.option(
    "--compat-db",
    "databases",
    multiple=True,
    metavar="FILE",
    help="Does this driver compatibility database (drvmain.sdb) name the drivers? May be repeated.",
)


def trust_options(command: Command) -> Command:
    """Add --catalog, --blocklist and --compat-db."""
    return _CATALOG(_BLOCKLIST(_COMPAT_DB(command)))


@record
class Settings:
    """A policy with what the command line says instead, and a baseline if there is one."""

    policy: Policy
    baseline: Baseline | None = None

    def judged(self, document: Document) -> Document:
        """The document with what the policy accepts."""
        return apply(document, self.policy, date.today(), self.baseline)


def settings(
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    baseline: str | None = None,
    symbols: tuple[str, ...] = (),
    selection: Selection = (frozenset(), frozenset()),
) -> Settings:
    """Read the policy and the baseline; the command line wins."""
    policy = Policy() if no_config else _policy(config)
    if target_os:
        server = names_server(target_os)
        policy = replace(policy, target_os=parse_version(target_os), on_server=server)
    if profile:
        policy = replace(policy, profile=Profile(profile))
    if undecided:
        policy = replace(policy, undecided=Undecided(undecided))
    select, ignore = selection
    policy = replace(
        policy, symbols=(*symbol_folders(symbols), *policy.symbols), select=select, ignore=ignore
    )
    path = baseline or policy.baseline
    return Settings(policy, read_baseline(path) if path else None)


def _policy(config: str | None) -> Policy:
    return read_policy(Path(config)) if config else find_policy(Path.cwd())


def read_baseline(path: str) -> Baseline:
    """Read a baseline file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{path}: {reason or error}") from error
    return parse_baseline(text, Path(path).name, str(Path(path).parent))


def evaluated(
    targets: Sequence[str],
    policy: Policy,
    verify: bool = False,
    trusted: Trusted | None = None,
    installed: bool = False,
    apart: Apart | None = None,
) -> Document:
    """Evaluate the targets named, or those that the policy names; `apart`: in other processes."""
    words = targets or policy.paths
    if not words:
        asked = click.get_current_context().command_path
        raise UsageError(f"no target: name a driver, a folder or a pattern; see {asked} --help")
    from hvci.cli.gather import gather
    from hvci.evaluate import Options

    options = Options(
        policy.target_os,
        policy.on_server,
        excerpts=True,
        verify=verify,
        symbols=policy.symbols,
    )
    trusted = (trusted or Trusted()).besides(policy)
    options = trusted.added_to(options)
    if apart is not None:
        from hvci.cli.isolated import Isolated

        isolated = Isolated(apart, options, trusted)
        if installed:
            return isolated.look(words)
        return _something(words, gather(words, options, policy, isolated.evaluated))
    if installed:
        from hvci.cli.installed import look

        return look(words, options)
    return _something(words, gather(words, options, policy))


def _something(words: Sequence[str], document: Document) -> Document:
    """A document that says so where the policy leaves out all that the words lead to."""
    if document.reports or document.errors:
        return document
    errors = (TargetError.of(word, InputError(_ALL_EXCLUDED)) for word in words)
    return replace(document, errors=tuple(errors))
