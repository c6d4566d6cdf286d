"""A command run to its end, with what it and the processes below it took (Linux).

The kernel adds up the CPU time of a process and of all that it waited for; what it cannot tell is
how much of it was the dbt that is being orchestrated. So the processes are looked at while they
run, ten times a second: dbt's last known time is subtracted, which is at most a tenth of a second
too little.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_LOOK_EVERY_SECONDS: Final = 0.1
TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


class CommandError(RuntimeError):
    """A measured command failed, so there is nothing to measure."""


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Args:
        seconds: from its start to its end.
        cpu_seconds: of all its processes, dbt's build included.
        dbt_cpu_seconds: of dbt's build.
        peak_mb: the largest memory of one of its processes, dbt's build excluded.
        dbt_parses: how many processes of dbt parsed a project.
    """

    seconds: float
    cpu_seconds: float
    dbt_cpu_seconds: float
    peak_mb: float
    dbt_parses: int = 0

    @property
    def own_cpu_seconds(self) -> float:
        """Of the processes that orchestrate."""
        return max(0.0, self.cpu_seconds - self.dbt_cpu_seconds)


@dataclass(frozen=True)
class Look:
    """One process at one moment."""

    cpu_seconds: float
    peak_mb: float
    arguments: tuple[str, ...]


def run(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path | None = None
) -> Usage:
    """Run a command to its end, its output going to a file.

    Raises:
        CommandError: it failed; the end of its output is in the text.
    """
    log = log or cwd / "output.log"
    with log.open("wb") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = _Watch(process.pid)
        watch.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:  # interrupted
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        seconds = time.monotonic() - begun
        watch.end()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = log.read_text(errors="replace")[-3000:]
        raise CommandError(f"{' '.join(command)}: exit code {process.returncode}\n{tail}")
    cpu_seconds = used.ru_utime + used.ru_stime
    return Usage(seconds, cpu_seconds, watch.dbt_cpu_seconds, watch.peak_mb, watch.dbt_parses)


def is_dbt_build(arguments: Sequence[str]) -> bool:
    """Whether a command line is the dbt that is orchestrated, started by whomever.

    `dbt --version` and `dbt parse` are not: they are what the orchestration costs.
    """
    return _is_dbt(arguments) and "build" in arguments


def _is_dbt(arguments: Sequence[str]) -> bool:
    return bool({"dbt", "launcher.py"} & {Path(argument).name for argument in arguments[:2]})


def descendants(root: int, parents: Mapping[int, int]) -> set[int]:
    """A process and all below it.

    Args:
        root: the process.
        parents: each process's parent.
    """
    found: set[int] = set()
    new = {root}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found


def latest(before: Look | None, now: Look) -> Look:
    """What is known of a process: one that has ended has its time, but no name or memory."""
    if before is None or now.arguments:
        return now
    return replace(before, cpu_seconds=now.cpu_seconds)


class _Watch(threading.Thread):
    """Looks at a process and all below it until it is told to end."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._done = threading.Event()
        self._last: dict[int, Look] = {}

    def run(self) -> None:
        while not self._done.is_set():
            for pid in descendants(self._root, parents()):
                with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended
                    self._last[pid] = latest(self._last.get(pid), _look(_PROC / str(pid)))
            self._done.wait(_LOOK_EVERY_SECONDS)

    def end(self) -> None:
        self._done.set()
        self.join()

    @property
    def dbt_cpu_seconds(self) -> float:
        return sum(it.cpu_seconds for it in self._last.values() if is_dbt_build(it.arguments))

    @property
    def dbt_parses(self) -> int:
        return sum(_is_dbt(it.arguments) and "parse" in it.arguments for it in self._last.values())

    @property
    def peak_mb(self) -> float:
        return max(
            (it.peak_mb for it in self._last.values() if not is_dbt_build(it.arguments)),
            default=0.0,
        )


def parents() -> dict[int, int]:
    """The parent of each process that there is."""
    found: dict[int, int] = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 - ten times a second: what is measured needs the cores
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):  # it has ended
                found[int(name)] = int(stat(_PROC / name)[1])
    return found


def stat(folder: Path) -> list[str]:
    """Of a process's folder: state, parent, and so on, after the name, which may hold anything."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _look(folder: Path) -> Look:
    fields = stat(folder)
    peak = 0.0
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1]) / 1024
    arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return Look(
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS,
        peak_mb=peak,
        arguments=tuple(filter(None, arguments)),
    )
