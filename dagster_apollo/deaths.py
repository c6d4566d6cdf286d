"""How a process died: what its exit code says, and whether the kernel ran out of memory."""

import signal
from pathlib import Path
from typing import Final

from dagster_apollo.instance.liveness import Cause

_CGROUPS: Final = Path("/sys/fs/cgroup")
_KILLS: Final = "oom_kill "


def explain(exit_code: int | None, *, out_of_memory: bool) -> tuple[Cause | None, str]:
    """Why a process that executed a run ended before the run did.

    Args:
        exit_code: as Python gives it: negative for a signal; None where nobody was told.
        out_of_memory: whether the kernel killed processes of this group for want of memory.

    Returns:
        The cause, where it was the platform, and a sentence.
    """
    if out_of_memory and exit_code in {None, -signal.SIGKILL}:
        return "memory", (
            "The process that executed the run was killed by the kernel because memory ran out. "
            "Give the host more, or let fewer runs execute at once (docs/deploy.md)."
        )
    if exit_code is None:
        return "killed", "The process that executed the run was killed."
    if exit_code < 0:
        return "killed", (
            f"The process that executed the run was killed from outside by signal {-exit_code} "
            f"({_name(-exit_code)})."
        )
    return None, f"The process that executed the run ended by itself, with exit code {exit_code}."


def memory_kills(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of this control group the kernel has killed for want of memory.

    Returns:
        The number; 0 where it cannot be known.
    """
    for file in _counters(root, own):
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(_KILLS):
                return int(line.removeprefix(_KILLS))
    return 0


def _counters(root: Path, own: Path) -> list[Path]:
    """Where the kernel counts: version 2 of control groups first, then 1."""
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    paths = {controllers: path.lstrip("/") for _, controllers, path in groups}
    unified, memory = paths.get("", ""), paths.get("memory", "")
    return [
        root / unified / "memory.events",
        root / "memory.events",  # a container that sees its own group as the root
        root / "memory" / memory / "memory.oom_control",
        root / "memory" / "memory.oom_control",
    ]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
