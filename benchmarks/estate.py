"""Several tenants of one size in one checkout, and what it takes to work with one of them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.process import TICKS, CommandError, Usage, descendants, is_dbt_build, parents, stat
from benchmarks.projects import make_project, model_name
from benchmarks.workplace import NAME, Workplace, apollo_command

FIRST_MODEL: Final = (NAME, "main", model_name(0))
"""The key of an asset that needs no other."""
_LOOK_EVERY_SECONDS: Final = 0.02
_START_SECONDS: Final = 300.0


class Estate(Workplace):
    """Tenants side by side, of which one is worked with.

    Args:
        root: the folder, which is made.
        tenants: how many there are.
        models: how many models each of them has.
        tests_per_model: how many tests each model has.
    """

    def __init__(self, root: Path, tenants: int, models: int, tests_per_model: int) -> None:
        super().__init__(root, models, tests_per_model)
        for number in range(1, tenants):
            make_project(self._tenants / f"dbt_other_{number:03d}", models, tests_per_model)

    def prepare_all(self) -> Usage:
        """`apollo prepare`, of all tenants."""
        return self.run([*apollo_command(), "prepare"], self.apollo_environment())

    def change_a_model(self) -> None:
        """Change one model of one tenant."""
        with (self._tenants / f"dbt_{NAME}" / "models" / f"{model_name(0)}.sql").open("a") as file:
            file.write("-- changed\n")

    def opened(self) -> dict[str, int]:
        """Whose files the process of a run opens: their number, and of how many tenants."""
        command = [sys.executable, "-m", "benchmarks.opened", NAME]
        counted = self.output(command, self.apollo_environment()).splitlines()[-1]
        found: dict[str, int] = json.loads(counted)
        return found

    def until_dbt(self, uri: str) -> tuple[float, float]:
        """From the start of `apollo build` of one tenant until dbt's, which is then stopped.

        Returns:
            The seconds, and those of CPU that the command took meanwhile.

        Raises:
            CommandError: it ended before dbt was started.
        """
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [*apollo_command(), "build", NAME],
                env=self.apollo_environment(uri),
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        cpu_seconds, begun = 0.0, _started(process.pid)
        started = begun
        until = time.monotonic() + _START_SECONDS
        while process.poll() is None and started == begun and time.monotonic() < until:
            cpu_seconds = _cpu_seconds(process.pid)
            started = next(map(_started, _builds_below(process.pid)), begun)
            time.sleep(_LOOK_EVERY_SECONDS)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(_START_SECONDS)
        if started == begun:
            raise CommandError(f"no dbt was started:\n{self._log.read_text(errors='replace')}")
        return (started - begun) / TICKS, cpu_seconds


def _builds_below(pid: int) -> list[int]:
    found = []
    for member in descendants(pid, parents()):
        with contextlib.suppress(OSError):  # it has ended
            arguments = Path(f"/proc/{member}/cmdline").read_bytes().split(b"\0")
            if is_dbt_build([os.fsdecode(argument) for argument in arguments]):
                found.append(member)
    return found


def _started(pid: int) -> int:
    """When a process was started, in the kernel's ticks."""
    return int(stat(Path(f"/proc/{pid}"))[19])


def _cpu_seconds(pid: int) -> float:
    """The CPU time of a process itself."""
    return sum(map(int, stat(Path(f"/proc/{pid}"))[11:13])) / TICKS
