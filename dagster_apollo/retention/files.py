"""What Apollo keeps below DAGSTER_HOME, and nobody refers to any more. Never a warehouse."""

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dagster_apollo.paths import TenantPaths
from dagster_apollo.retention.report import Item

_YOUNG: Final = timedelta(days=1)
"""A directory that changed later may be of a run that is just beginning, or of a preparation."""


@dataclass(frozen=True)
class Stale:
    """A directory that may go.

    Args:
        path: where it is.
        changed: when it last changed.
        size: the bytes of its files.
    """

    path: Path
    changed: datetime
    size: int


def stale_directories(
    folders: Collection[Path], is_referenced: Callable[[Path], bool], before: datetime
) -> Iterator[Stale]:
    """Those of some directories that are referred to by nothing, and are not new.

    Args:
        folders: directories, or what may be none.
        is_referenced: whether something refers to one.
        before: what changed later stays.
    """
    for folder in folders:
        with contextlib.suppress(OSError):  # gone meanwhile
            if folder.is_symlink() or not folder.is_dir():
                continue
            changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            if changed < before and not is_referenced(folder):
                yield Stale(folder, changed, _size(folder))


def stale_below(
    home: Path, tenants: AbstractSet[str], has_run: Callable[[str], bool], now: datetime
) -> Iterator[Stale]:
    """The target directories of runs that are gone, and what was made for tenants that are.

    Args:
        home: the instance directory.
        tenants: the identifiers of the tenants that there are; none where that is not known, and
            then all of them count as being there.
        has_run: whether the instance has a run.
        now: the time, in UTC.
    """
    before = now - _YOUNG
    for root in _below(home / "tenants"):
        paths = TenantPaths(home, root.name, target="")
        yield from stale_directories(
            _below(paths.runs), lambda folder: has_run(folder.name), before
        )
        if tenants and root.name not in tenants and not _was_used(paths.runs, before):
            derived = [*_below(root / "prepared"), *_below(paths.environments), root / "dbt"]
            yield from stale_directories(derived, lambda _folder: False, before)


def _was_used(runs: Path, since: datetime) -> bool:
    """Whether a run of a tenant may still go on, which needs what was prepared for it."""
    for folder in _below(runs):
        with contextlib.suppress(OSError):
            if datetime.fromtimestamp(folder.stat().st_mtime, UTC) >= since:
                return True
    return False


def remove_directories(stale: Iterator[Stale], item: Item, *, dry_run: bool) -> Iterator[None]:
    """Remove directories, or only count them.

    Yields:
        After each of them.
    """
    for found in stale:
        if not dry_run:
            shutil.rmtree(found.path, ignore_errors=True)
        if dry_run or not found.path.exists():
            item.add(1, found.changed, found.size)
        yield


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total
