"""How much memory a host's processes need, as a host of their own would count it."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_SECONDS = 0.5
MEGABYTE = 1024  # /proc counts in kB


@dataclass(frozen=True)
class Usage:
    """Memory of one process, in kB."""

    anonymous: int
    """Its own; what it shares with its forks is counted once."""
    files: int
    """Programs and libraries that it has mapped."""


def usage_of(pid: int) -> Usage:
    """Read what a process uses now; nothing where it has ended."""
    values: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, rest = line.partition(":")
            values[name] = int(rest.split()[0])
    anonymous = values.get("Pss_Anon", 0) + values.get("Pss_Shmem", 0)
    return Usage(anonymous, max(0, values.get("Rss", 0) - values.get("Anonymous", 0)))


def of_host(pids: Mapping[int, str]) -> int:
    """What processes use together, in MB: the same programs and libraries are there only once."""
    usages = [usage_of(pid) for pid in pids]
    files = max((usage.files for usage in usages), default=0)
    return (sum(usage.anonymous for usage in usages) + files) // MEGABYTE


@dataclass
class Peaks:
    """The most that was seen, by name, since the start; sampled on a thread of its own."""

    sources: Mapping[str, Callable[[], Mapping[int, str]]]
    megabytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _sample(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            for name, processes in self.sources.items():
                now = of_host(processes())
                self.megabytes[name] = max(now, self.megabytes.get(name, 0))
