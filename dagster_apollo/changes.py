"""The files that differ from a commit, as Git has it."""

import os
import subprocess
from pathlib import Path

from dagster_apollo.errors import ApolloError


def repository_of(folder: Path) -> Path:
    """The absolute path of the repository that a folder is in.

    Raises:
        ApolloError: it is in none, or there is no Git.
    """
    found = _git(folder, "rev-parse", "--show-toplevel")
    return Path(os.path.realpath(os.fsdecode(found.rstrip(b"\n"))))


def changed_since(repository: Path, commit: str) -> list[Path]:
    """What a branch changes: the files that differ from where it left a commit's history.

    Changes that are not committed count, and so do new and removed files, and both names of one
    that was renamed.

    Args:
        repository: its absolute path.
        commit: any name of a commit, e.g. `origin/main`.

    Raises:
        ApolloError: Git does not know the commit, or has no history that leads to both.
    """
    start = os.fsdecode(_git(repository, "merge-base", "--end-of-options", commit, "HEAD").strip())
    differing = _git(repository, "diff", "--name-only", "--no-renames", "-z", start, "--")
    new = _git(repository, "ls-files", "--others", "--exclude-standard", "-z")
    names = [*differing.split(b"\0"), *new.split(b"\0")]
    return sorted({repository / os.fsdecode(name) for name in names if name})


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        ended = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise ApolloError("There is no git on PATH. Install it.") from None
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace").strip()
        raise ApolloError(
            f"git {arguments[0]} failed in {folder}: {said or 'no commit is in both histories'}. "
            "Name a commit that this checkout has, with its history: `git fetch --unshallow`, or "
            "`fetch-depth: 0` in CI."
        )
    return ended.stdout
