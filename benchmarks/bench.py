"""What the measurements share: the server, the projects, the sizes, the progress."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.postgres import Server
from benchmarks.workplace import Workplace, migrate

T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """How large the projects are, in models (with three tests each), and how often all is repeated.

    Args:
        runs: the projects that are built by all sides, and in how many rounds.
        growth: the two projects whose costs for a node are compared.
        planned: the assets (with three checks each) of the run that is created.
        traffic: the project whose runs' statements are counted.
        start: the project that a process loads; `start_rounds` times.
        definitions: the project whose definitions are loaded; `definitions_rounds` times.
        services: the project that services serve, whose runs are launched `service_rounds` times.
        idle_seconds: how long services are watched when they have nothing to do.
        peers: the project that others run, of which one needs a second or two for each node.
        tenants: how many there are, in the measurements of many.
        models: how many one tenant has, in the measurements of large ones.
        left_out: measurements that take too long to be made unless they are asked for by name.
    """

    runs: Mapping[int, int]
    growth: tuple[int, int]
    planned: int
    traffic: int
    start: int
    start_rounds: int
    definitions: int
    definitions_rounds: int
    services: int
    service_rounds: int
    idle_seconds: int
    peers: int
    tenants: tuple[int, ...]
    models: tuple[int, ...]
    left_out: frozenset[str] = frozenset()


_SLOW: Final = frozenset(
    {"idle", "prefect-dbt", "cosmos", "scale-tenants-1", "scale-tenants-3", "scale-models-30"}
)
_MANY: Final = ((1, 10, 100), (3000, 10_000))
FULL: Final = Sizes(
    {100: 3, 1000: 1}, (125, 1250), 1000, 100, 1000, 5, 5000, 1, 1000, 1, 600, 100, *_MANY
)
QUICK: Final = Sizes({10: 1}, (10, 30), 50, 10, 10, 1, 30, 1, 10, 1, 60, 10, (1, 3), (30,), _SLOW)
"""Two projects serve for all: making each takes as long as a run of it."""


def with_rounds(sizes: Sizes, rounds: int) -> Sizes:
    """The same sizes, all measured so many times."""
    runs = dict.fromkeys(sizes.runs, rounds)
    return replace(
        sizes,
        runs=runs,
        start_rounds=rounds,
        definitions_rounds=rounds,
        service_rounds=rounds,
    )


@dataclass
class Bench:
    """One run of the benchmarks."""

    server: Server
    folder: Path
    sizes: Sizes
    _workplaces: dict[int, Workplace] = field(default_factory=dict)
    _parsed: set[int] = field(default_factory=set)
    _begun: float = field(default_factory=time.monotonic)
    _has_template: bool = False
    _made: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"[{time.monotonic() - self._begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several measurements take from the same samples."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def make_template(self, place: Workplace) -> None:
        """Make what the databases are copied from, unless it is there."""
        if not self._has_template:
            migrate(self.server, place)
            self._has_template = True

    def workplace(self, models: int, *, parse_plain: bool = True) -> Workplace:
        """A project of a size, prepared; made once."""
        if models not in self._workplaces:
            self.say(f"preparing {size_text(models)}")
            made = Workplace(self.folder / f"models-{models}", models)
            made.prepare()
            self._workplaces[models] = made
        if parse_plain and models not in self._parsed:
            self._workplaces[models].parse_plain()
            self._parsed.add(models)
        self.make_template(self._workplaces[models])
        return self._workplaces[models]


def size_text(models: int) -> str:
    """A project's size for people."""
    return f"{models:,} models + {3 * models:,} tests"
