"""What a command line gives besides the policy: files that say whom to trust, and processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.errors import InputError, UsageError
from hvci.model.record import record
from hvci.policy import Policy

if TYPE_CHECKING:
    from hvci.evaluate import Options


def symbol_folders(words: tuple[str, ...]) -> tuple[str, ...]:
    """The folders of --symbols: one that is not there is a wrong argument."""
    for word in words:
        if not Path(word).is_dir():
            raise UsageError(f"--symbols {word}: there is no such folder")
    return words


@record
class Trusted:
    """Files that say whom to trust; each is read once for all targets."""

    catalogs: tuple[str, ...] = ()
    blocklists: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()

    def besides(self, policy: Policy) -> Trusted:
        """These files and those that a policy names."""
        return Trusted(
            (*self.catalogs, *policy.catalogs),
            (*self.blocklists, *policy.blocklists),
            (*self.databases, *policy.compat_db),
        )

    def added_to(self, options: Options) -> Options:
        """The options with what the files say."""
        if self.catalogs:
            from hvci.signing.catalog import load_catalogs

            try:
                options = replace(options, catalogs=load_catalogs(self.catalogs))
            except InputError as error:
                raise UsageError(str(error)) from error
        if self.blocklists or self.databases:
            from hvci.lists import load_block_list, load_database

            lists = (*map(load_block_list, self.blocklists), *map(load_database, self.databases))
            options = replace(options, lists=lists)
        return options


@record
class Apart:
    """Targets are evaluated in processes of their own: so many, each target in so many seconds."""

    jobs: int
    seconds: int
