"""What is measured on running services: a run by way of the daemon, memory, CPU time when idle."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks import services, trees
from benchmarks.bench import Bench, size_text
from benchmarks.cells import named, seconds_text
from benchmarks.machine import taken
from benchmarks.services import Launched, Platform, Services
from benchmarks.table import Row

SIDES: Final[tuple[Platform, ...]] = ("apollo", "stock")
COMPARED: Final = ("webserver", "daemon", trees.CODE_SERVER, trees.RUN_WORKER)
_WARM_UP_SECONDS: Final = 60.0
_RESPAWN_SECONDS: Final = 60
"""Stock's daemon replaces its code server after so long."""
_PART: Final = 0.1
"""What ours may take of stock's idle CPU."""


@dataclass(frozen=True)
class _Runs:
    """Runs through services, and what the services' memory was meanwhile."""

    bare: list[float]
    launched: dict[Platform, list[Launched]]
    peaks: dict[Platform, dict[str, float]]
    moment: dict[str, str]

    def samples(self) -> list[dict[str, Any]]:
        """All of it."""
        return [
            *({"side": "bare", "seconds": it} for it in self.bare),
            *({"side": side, **asdict(it)} for side in SIDES for it in self.launched[side]),
            *({"side": side, "peak_mb": self.peaks[side]} for side in SIDES),
        ]


def daemon_path(bench: Bench) -> list[Row]:
    """A run from the call of launchRun until its success is in the database."""
    runs = bench.once("services", lambda: _runs(bench))
    bare = median(runs.bare)
    whole = {side: median(it.seconds for it in runs.launched[side]) for side in SIDES}

    def cell(side: Platform) -> str:
        queued = median(it.queued_seconds for it in runs.launched[side])
        return f"{seconds_text(whole[side])}, {seconds_text(queued)} of it in the queue"

    ratio = whole["apollo"] / bare
    return [
        Row(
            "daemon-path",
            "a run from launch to finished by webserver, daemon and code server",
            size_text(bench.sizes.services),
            reference=f"bare dbt {seconds_text(bare)}",
            stock=f"in process {cell('stock')} ({whole['stock'] / bare:.2f} ×)",
            apollo=cell("apollo"),
            result=f"{ratio:.2f} ×, {whole['apollo'] - bare:+.1f} s",
            reach="≤ 1.10 × bare",
            reached=ratio <= 1.10,  # noqa: PLR2004
            samples=runs.samples(),
            taken=runs.moment,
        )
    ]


def memory(bench: Bench) -> list[Row]:
    """The services' memory at most, from their start until a run has succeeded."""
    runs = bench.once("services", lambda: _runs(bench))
    parts = {side: {name: runs.peaks[side][name] for name in COMPARED} for side in SIDES}
    ours, theirs = parts["apollo"], parts["stock"]
    inside = theirs[trees.CODE_SERVER]
    return [
        Row(
            "memory-services",
            "peak memory (PSS) of each service, and of the run worker without dbt",
            size_text(bench.sizes.services),
            stock=f"{named(theirs, 'MB')}; a code server is in each of the first two",
            apollo=named(ours, "MB"),
            result=named({name: ours[name] / theirs[name] for name in COMPARED}, "×", 2)
            + f"; all together {sum(ours.values()) / (sum(theirs.values()) - inside):.2f} ×",
            reach="less than stock in each",
            reached=all(ours[name] < theirs[name] for name in COMPARED),
            samples=runs.samples(),
            taken=runs.moment,
        )
    ]


def idle(bench: Bench) -> list[Row]:
    """The services' CPU time with nothing to do, both sides in the same minutes."""
    place, moment, length = bench.workplace(bench.sizes.services), taken(), bench.sizes.idle_seconds
    with ExitStack() as stack:
        sides: dict[Platform, Services] = {}
        for side in SIDES:
            sides[side] = stack.enter_context(services.running(side, place, bench.server))
            bench.say(f"idle: {side} is up")
        time.sleep(_WARM_UP_SECONDS)
        before = {side: it.cpu_seconds() for side, it in sides.items()}
        begun = time.monotonic()
        while (left := begun + length - time.monotonic()) > 0:
            bench.say(f"idle: {left:.0f} s to go")
            time.sleep(min(left, 60.0))
        after = {side: it.cpu_seconds() for side, it in sides.items()}
    took = {
        side: {name: after[side][name] - it for name, it in before[side].items()} for side in SIDES
    }
    for side, parts in took.items():
        bench.say(f"idle for {length} s, {side}: {named(parts, 's of CPU', 1)}")
    ours, theirs = (sum(took[side].values()) for side in SIDES)
    few = f"; at most {length // _RESPAWN_SECONDS} of stock's code servers came anew"
    return [
        Row(
            "idle",
            "idle CPU time of all services, side by side",
            f"{_length(length)}, no runs, {size_text(place.models)}",
            stock=f"{seconds_text(theirs)}: {named(took['stock'], 's', 1)}",
            apollo=f"{seconds_text(ours)}: {named(took['apollo'], 's', 1)}",
            result=f"{ours / theirs:.2f} ×" + (few if length < 5 * _RESPAWN_SECONDS else ""),
            reach="≤ 1/10 of stock's",
            reached=ours <= _PART * theirs,
            samples=[{"side": side, "seconds": length, "cpu": took[side]} for side in SIDES],
            taken=moment,
        )
    ]


def _runs(bench: Bench) -> _Runs:
    place, moment = bench.workplace(bench.sizes.services), taken()
    runs = _Runs([], {side: [] for side in SIDES}, {}, moment)
    for side in SIDES:
        # the other side's are down: stock's daemon is never idle
        with services.running(side, place, bench.server) as up:
            bench.say(f"services: {side} is up")
            watch = trees.MemoryWatch(up.pids)
            watch.start()
            try:
                for number in range(bench.sizes.service_rounds):
                    if side == "apollo":
                        runs.bare.append(place.build("bare", bench.server).usage.seconds)
                        bench.say(f"services: bare dbt: {seconds_text(runs.bare[-1])}")
                    place.tidy()
                    runs.launched[side].append(up.launch(bench.server))
                    place.verify(side, bench.server, up.database, runs=number + 1)
                    bench.say(f"services: a run, {side}: {runs.launched[side][-1]}")
            finally:
                watch.end()
            runs.peaks[side] = watch.peaks
            bench.say(f"services: memory, {side}: {named(watch.peaks, 'MB')}")
    return runs


def _length(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds >= 120 else f"{seconds} s"  # noqa: PLR2004
