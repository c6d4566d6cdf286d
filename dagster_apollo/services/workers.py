"""The processes that execute runs, noted in files: they outlive the server that started them.

A worker goes on when the gRPC server that started it has died. The next server adopts it: it can be
stopped like any other, and a run whose worker vanished is still recorded as failed. Linux only:
elsewhere nothing is adopted.
"""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_EXIT: Final = ".exit"
_NAME_BYTES: Final = 15
"""What Linux keeps of the name of a process."""
_COLLECTOR: Final = b"dagster_apollo.instance.postgres_logs.collector"


@dataclass(frozen=True)
class Worker:
    """A process that executes a run.

    Args:
        run_id: the run.
        pid: the process.
        started: when it started, in the kernel's clock; tells it from a later one of that number.
    """

    run_id: str
    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return started_at(self.pid) == self.started


class WorkerFiles:
    """One file a worker, in a directory of the supervisor's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, run_id: str, pid: int) -> None:
        """Take note of a worker."""
        started = started_at(pid)
        if started is not None:
            path = self._directory / run_id
            path.with_suffix(".partial").write_text(json.dumps({"pid": pid, "started": started}))
            path.with_suffix(".partial").replace(path)

    def remove(self, run_id: str) -> None:
        """Forget a worker."""
        for suffix in ("", _EXIT):
            (self._directory / f"{run_id}{suffix}").unlink(missing_ok=True)

    def note_exit(self, pid: int, code: int) -> None:
        """Take note of the exit code of a process, if it is a worker that was inherited."""
        for worker in self.read():
            if worker.pid == pid:
                (self._directory / f"{worker.run_id}{_EXIT}").write_text(str(code))

    def exit_code(self, run_id: str) -> int | None:
        """The exit code of a worker that was inherited and has ended; None: not known."""
        try:
            return int((self._directory / f"{run_id}{_EXIT}").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def read(self) -> list[Worker]:
        """The workers that were noted and not forgotten, whether or not they are alive."""
        workers = []
        for path in sorted(self._directory.iterdir()):
            if not path.suffix:
                with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
                    workers.append(Worker(run_id=path.name, **json.loads(path.read_text())))
        return workers


class NotedExecutions(dict[str, tuple[Any, Any]]):
    """Dagster's executions (run id to process and instance), each with a file while it is one."""

    def __init__(self, files: WorkerFiles) -> None:
        super().__init__()
        self._files = files

    def __setitem__(self, run_id: str, execution: tuple[Any, Any]) -> None:
        self._files.add(run_id, execution[0].pid)
        super().__setitem__(run_id, execution)

    def __delitem__(self, run_id: str) -> None:
        self.pop(run_id, None)  # of a worker that died as it came up, two threads take leave
        self._files.remove(run_id)


class AdoptedProcess:
    """Another server's worker, as far as Dagster's server needs a multiprocessing.Process."""

    def __init__(self, worker: Worker, files: WorkerFiles) -> None:
        self.worker = worker
        self.pid = worker.pid
        self._files = files

    @property
    def exitcode(self) -> int | None:
        """As the supervisor noted it, which inherits such workers; None where it did not."""
        return self._files.exit_code(self.worker.run_id)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.worker.is_alive()


class Termination:
    """How a worker is told to stop, once; takes the place of Dagster's multiprocessing.Event.

    Args:
        tell: tells it; may hang, as setting such an event does while the worker that waits for it
            is stopped or stuck (CPython, multiprocessing.Condition.notify).
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._is_set = False

    def is_set(self) -> bool:
        """Whether it was told to stop."""
        return self._is_set

    def set(self) -> None:
        """Tell it to stop, unless it was told already."""
        if not self._is_set:
            self._is_set = True
            threading.Thread(target=self._tell, name="apollo-termination", daemon=True).start()


class Terminations(dict[str, Termination]):
    """Dagster's termination events by run id, none of which can hang the server."""

    def __setitem__(self, run_id: str, event: Any) -> None:  # noqa: ANN401
        super().__setitem__(run_id, Termination(event.set))

    def __delitem__(self, run_id: str) -> None:
        self.pop(run_id, None)


def interrupt(worker: Worker) -> None:
    """Do to an adopted worker what its event makes one do to itself (dagster 1.13)."""
    if worker.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGINT)


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it does not run (any more)."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started, whatever groups or sessions they are in.

    What stores the process's output (instance/postgres_logs) is spared: it ends by itself when all
    who write are gone, and has their last words to store.
    """
    for member in [pid, *_descendants(pid)]:
        if not _stores_output(member):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)


def dbt_of(run_id: str) -> list[int]:
    """The processes of dbt that build for a run, whoever started them; none but on Linux."""
    name = f"dbt-{run_id}".encode()[:_NAME_BYTES]
    wanted = re.compile(rb"(?:^|\0)DBT_TARGET_PATH=[^\0]*/" + run_id.encode() + rb"(?:\0|$)")
    found = []
    for pid, _ in _parents():
        with contextlib.suppress(OSError):
            # before it has its name, its environment can still be read (dbt/launcher.py)
            if Path(f"/proc/{pid}/comm").read_bytes().strip() == name or wanted.search(
                Path(f"/proc/{pid}/environ").read_bytes()
            ):
                found.append(pid)
    return found


def children_of(pid: int) -> list[int]:
    """The processes whose parent a process is."""
    return [child for child, parent in _parents() if parent == pid]


def _stores_output(pid: int) -> bool:
    try:
        return _COLLECTOR in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _descendants(pid: int) -> Iterator[int]:
    parents = list(_parents())
    found = [pid]
    for ancestor in found:
        members = [child for child, parent in parents if parent == ancestor]
        found += members
        yield from members


def _parents() -> Iterator[tuple[int, int]]:
    proc = Path("/proc")
    for entry in proc.iterdir() if proc.is_dir() else ():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
