"""Who executes a run on a laptop: the process that holds the lock of the run's file.

The kernel gives a lock back when its process ends, however it ends, and keeps it while the machine
sleeps. That is all that there is to know where all processes are on one machine.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

_held: Final[dict[str, int]] = {}


def hold(home: Path, run_id: str) -> None:
    """Say, until this process ends, that it executes a run.

    Args:
        home: the instance directory.
        run_id: the run.

    Raises:
        OSError: the file cannot be written.
    """
    if run_id in _held:
        return
    folder = _folder(home)
    folder.mkdir(exist_ok=True)
    _prune(folder)
    file = os.open(folder / run_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held[run_id] = file


def is_held(home: Path, run_id: str) -> bool | None:
    """Whether a process executes a run; None where it has not said so yet."""
    try:
        file = os.open(_folder(home) / run_id, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _folder(home: Path) -> Path:
    return home / "workers"


_KEPT: Final = 1000


def _prune(folder: Path) -> None:
    """Forget the oldest of many files that nobody holds."""
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in files[:-_KEPT]:
        if is_held(folder.parent, path.name) is False:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
