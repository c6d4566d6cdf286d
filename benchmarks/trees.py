"""What services take, with all that they start: CPU time, and memory by role (Linux).

CPU time is the kernel's: of each process in the tree, and of those that have ended, which the
kernel adds to the one that waited for them (subreaper.py sees to it that there is one). Memory is
the proportional set size: a page that several processes share counts once among them. The kernel
keeps no high-water mark of it, so it is looked at once a second.
"""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.process import TICKS, descendants, is_dbt_build, parents, stat

RUN_WORKER: Final = "run worker"
CODE_SERVER: Final = "code server"
_DBT: Final = "dbt"
_LOOK_EVERY_SECONDS: Final = 1.0
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process of a tree."""

    parent: int
    arguments: tuple[str, ...]


def role_of(arguments: Sequence[str]) -> str | None:
    """What a process is by its command line; None: a part of what started it."""
    if is_dbt_build(arguments):
        return _DBT
    if any("multiprocessing.spawn" in argument for argument in arguments):
        return RUN_WORKER
    if "grpc" in arguments and "api" in arguments:
        return CODE_SERVER  # `dagster api grpc`, as stock's webserver and daemon start it
    return None


def roles(root: int, name: str, processes: Mapping[int, Process]) -> dict[int, str]:
    """The role of a service's process and of each below it; below dbt all is dbt.

    Args:
        root: the service's first process.
        name: the service's name, the role of what has no other.
        processes: those of the tree.
    """
    found = {root: name}
    waiting = [root]
    while waiting:
        above = waiting.pop()
        for pid, process in processes.items():
            if process.parent == above and pid not in found:
                role = found[above]
                found[pid] = role if role == _DBT else role_of(process.arguments) or role
                waiting.append(pid)
    return found


def cpu_seconds(root: int) -> float:
    """The CPU time so far of a process and of all that were or are below it."""
    ticks = 0
    for pid in members(root):
        with contextlib.suppress(OSError, IndexError):  # it has ended, and its parent has its time
            ticks += sum(map(int, stat(_PROC / str(pid))[11:15]))
    return ticks / TICKS


def members(root: int) -> set[int]:
    """A process and all below it."""
    return descendants(root, parents())


def has_ended(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return stat(_PROC / str(pid))[0] == "Z"
    except OSError:
        return True


class MemoryWatch(threading.Thread):
    """Looks at the memory of services until it is told to end.

    Args:
        services: the first process of each, by name.
    """

    def __init__(self, services: Mapping[str, int]) -> None:
        super().__init__(daemon=True)
        self._services = services
        self._done = threading.Event()
        self.peaks: dict[str, float] = {}
        """MB at most, by service (its code server's included, its run workers' and dbt's not), and
        by `run worker` and `code server`."""

    def run(self) -> None:
        """Look once a second."""
        while not self._done.is_set():
            for name, megabytes in self._look().items():
                self.peaks[name] = max(self.peaks.get(name, 0.0), megabytes)
            self._done.wait(_LOOK_EVERY_SECONDS)

    def end(self) -> None:
        """Stop looking."""
        self._done.set()
        self.join()

    def _look(self) -> dict[str, float]:
        above = parents()
        now: dict[str, float] = defaultdict(float)
        for name, root in self._services.items():
            tree = {
                pid: Process(above.get(pid, 0), _arguments(pid)) for pid in descendants(root, above)
            }
            code_servers: list[float] = []
            for pid, role in roles(root, name, tree).items():
                if role == _DBT:
                    continue
                megabytes = _pss(pid)
                now[role if role == RUN_WORKER else name] += megabytes
                if role == CODE_SERVER:
                    code_servers.append(megabytes)
            if code_servers:
                # one of them: stock replaces its own while it still runs
                now[CODE_SERVER] = max(now[CODE_SERVER], *code_servers)
        return dict(now)


def _arguments(pid: int) -> tuple[str, ...]:
    with contextlib.suppress(OSError):
        text = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        return tuple(filter(None, text.split("\0")))
    return ()


def _pss(pid: int) -> float:
    with contextlib.suppress(OSError):  # it has ended
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
