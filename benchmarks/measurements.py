"""The measurements: each runs what it compares side by side, and makes rows of the table of it."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from benchmarks.bench import Bench, size_text
from benchmarks.cells import seconds_text
from benchmarks.machine import taken
from benchmarks.process import Usage
from benchmarks.projects import TESTS
from benchmarks.table import Row
from benchmarks.workplace import RunUsage, Side, Workplace

SIDES: Final[tuple[Side, ...]] = ("bare", "apollo", "stock", "stock in process")
_SECONDS_ABOVE_BARE: Final = 4.0
_SMALL_RUN: Final = 300
"""Up to so many models a run is compared with bare dbt by difference, as starting dominates."""


def rotated(sides: Sequence[Side], round_number: int) -> list[Side]:
    """The sides in another order each round, so that none is always the first."""
    cut = round_number % len(sides)
    return [*sides[cut:], *sides[:cut]]


def run(bench: Bench, models: int) -> list[Row]:
    """A run from launch to finished: its time, CPU, memory and connections."""
    place, moment = bench.workplace(models), taken()
    samples: dict[Side, list[RunUsage]] = {side: [] for side in SIDES}
    for number in range(bench.sizes.runs[models]):
        for side in rotated(SIDES, number):
            done = place.build(side, bench.server)
            samples[side].append(done)
            bench.say(f"run of {size_text(models)}, {side}: {seconds_text(done.usage.seconds)}")
    details = tuple(_details(side, place, it) for side, runs in samples.items() for it in runs)
    bare, apollo, stock, alone = (
        median(it.usage.seconds for it in samples[side]) for side in SIDES
    )
    above, ratio = apollo - bare, apollo / bare
    small = models <= _SMALL_RUN

    def row(name: str, what: str, **cells: Any) -> Row:  # noqa: ANN401
        key = f"run-{models}{name}"
        size = size_text(models)
        return Row(key, what, size, samples=details, taken=moment, **cells)

    def of(side: Side, value: Callable[[RunUsage], float]) -> float:
        return median(value(it) for it in samples[side])

    def both(value: Callable[[RunUsage], float], unit: str) -> dict[str, str]:
        stocks = [of("stock", value), of("stock in process", value)]
        return {
            "stock": f"{stocks[0]:,.1f} {unit}; in process {stocks[1]:,.1f} {unit}",
            "apollo": f"{of('apollo', value):,.1f} {unit}",
            "result": f"{of('apollo', value) / min(stocks):.2f} × of stock's better",
        }

    dbt = of("bare", lambda it: it.usage.cpu_seconds)
    cpu = both(lambda it: it.usage.own_cpu_seconds, "s")
    memory = both(lambda it: it.usage.peak_mb, "MB")
    return [
        row(
            "",
            "a run from launch to finished, Postgres instance",
            reference=f"bare dbt {seconds_text(bare)}",
            stock=f"{seconds_text(stock)} ({stock / bare:.2f} ×); in process "
            f"{seconds_text(alone)} ({alone / bare:.2f} ×)",
            apollo=seconds_text(apollo),
            result=f"{ratio:.2f} ×, {above:+.1f} s",
            reach="bare + 4 s" if small else "≤ 1.10 × bare",
            reached=above <= _SECONDS_ABOVE_BARE if small else ratio <= 1.10,  # noqa: PLR2004
        ),
        row(
            "-cpu",
            "the same: CPU time of the orchestrating processes",
            reference=f"bare dbt itself {seconds_text(dbt)}",
            **cpu,
        ),
        row(
            "-memory",
            "the same: peak memory of the largest process but dbt (run worker)",
            reach="less than stock",
            reached=of("apollo", lambda it: it.usage.peak_mb)
            < min(of(side, lambda it: it.usage.peak_mb) for side in SIDES[2:]),
            **memory,
        ),
        row(
            "-connections",
            "the same: connections opened to Postgres",
            stock=f"{of('stock', lambda it: it.connections):,.0f}",
            apollo=f"{of('apollo', lambda it: it.connections):,.0f}, by one process",
            reach="≤ 6 per process",
            reached=of("apollo", lambda it: it.connections) <= 6,  # noqa: PLR2004
            result=_ratio(
                of("apollo", lambda it: it.connections), of("stock", lambda it: it.connections)
            ),
        ),
    ]


def growth(bench: Bench) -> list[Row]:
    """Apollo's CPU time for a node, of a large project against a small one."""
    moment = taken()
    costs: list[float] = []
    samples: list[dict[str, Any]] = []
    for models in bench.sizes.growth:
        place = bench.workplace(models, parse_plain=False)
        done = place.build("apollo", bench.server)
        samples.append(_details("apollo", place, done))
        costs.append(1000 * done.usage.own_cpu_seconds / place.nodes)
        bench.say(f"growth, {size_text(models)}: {costs[-1]:.1f} ms of CPU for each node")
    nodes = [place["nodes"] for place in samples]
    seconds = [place["own_cpu_seconds"] for place in samples]
    further = 1000 * (seconds[1] - seconds[0]) / (nodes[1] - nodes[0])
    return [
        Row(
            "growth",
            "CPU time of the orchestrating processes for each node, against a tenth of the nodes",
            f"{nodes[1]:,} nodes against {nodes[0]:,}",
            reference=f"{costs[0]:.1f} ms at {nodes[0]:,}",
            apollo=f"{costs[1]:.1f} ms; {further:.1f} ms for each further node",
            result=f"{costs[1] / costs[0]:.2f} ×",
            reach="≤ 1.2 ×",
            reached=costs[1] <= 1.2 * costs[0],
            samples=samples,
            taken=moment,
        )
    ]


def planned(bench: Bench) -> list[Row]:
    """Creating a run whose events are planned ahead."""
    place, moment = bench.workplace(bench.sizes.start, parse_plain=False), taken()
    assets = bench.sizes.planned
    samples: dict[str, dict[str, Any]] = {}
    for side in ("apollo", "stock"):
        database = bench.server.make_database()
        uri = bench.server.uri(database)
        env = place.apollo_environment(uri) if side == "apollo" else place.stock_environment(uri)
        text = place.output([sys.executable, "-m", "benchmarks.planned", side, str(assets)], env)
        connections = bench.server.connections(database)
        samples[side] = {**json.loads(text.splitlines()[-1]), "connections": connections}
        bench.say(f"creating a run, {side}: {samples[side]}")
    cells = {
        side: f"{it['seconds']:.2f} s, {it['statements']:,} statements, "
        f"{it['connections']:,} connections"
        for side, it in samples.items()
    }
    faster = samples["stock"]["seconds"] / samples["apollo"]["seconds"]
    return [
        Row(
            "planned",
            "creating a run",
            f"{assets * (1 + len(TESTS)):,} planned events",
            stock=cells["stock"],
            apollo=cells["apollo"],
            result=f"1/{faster:.0f} of stock's time",
            reach="≤ 1/50",
            reached=faster >= 50,  # noqa: PLR2004
            samples=[{"side": side, **it} for side, it in samples.items()],
            taken=moment,
        )
    ]


def traffic(bench: Bench) -> list[Row]:
    """SQL statements for each node, as the server logs them; these runs are not timed."""
    place, moment = bench.workplace(bench.sizes.traffic), taken()
    samples = []
    for side in SIDES[1:3]:
        done = place.build(side, bench.server, log_statements=True)
        samples.append(_details(side, place, done))
        bench.say(f"statements of {size_text(place.models)}, {side}: {done.statements:,}")
    apollo, stock = (it["statements"] / place.nodes for it in samples)
    return [
        Row(
            "traffic",
            "SQL statements of a run for each node, all processes",
            size_text(place.models),
            stock=f"{stock:.2f} ({samples[1]['statements']:,} in all)",
            apollo=f"{apollo:.2f} ({samples[0]['statements']:,} in all)",
            result=f"1/{stock / apollo:.1f} of stock's",
            reach="≤ 1/5",
            reached=apollo * 5 <= stock,
            samples=samples,
            taken=moment,
        )
    ]


def start(bench: Bench) -> list[Row]:
    """From the start of a process to definitions loaded."""
    place, moment = bench.workplace(bench.sizes.start, parse_plain=False), taken()
    kinds: dict[str, Callable[[], Usage]] = {
        "reference": lambda: place.python("import dagster"),
        "apollo": lambda: place.load("apollo"),
        "stock": lambda: place.load("stock"),
    }
    samples = _interleaved(bench, kinds, bench.sizes.start_rounds, "start")
    seconds = {kind: median(it.seconds for it in usages) for kind, usages in samples.items()}
    ratio = seconds["apollo"] / seconds["reference"]
    return [
        Row(
            "start",
            "process start to definitions loaded",
            size_text(place.models),
            reference=f"`import dagster` {seconds_text(seconds['reference'])}",
            stock=f"{seconds_text(seconds['stock'])} "
            f"({seconds['stock'] / seconds['reference']:.2f} ×)",
            apollo=seconds_text(seconds["apollo"]),
            result=f"{ratio:.2f} ×, CPU {_cpu_ratio(samples['apollo'], samples['reference'])}",
            reach="≤ 2 ×",
            reached=ratio <= 2,  # noqa: PLR2004
            samples=_flat(samples),
            taken=moment,
        )
    ]


def definitions(bench: Bench) -> list[Row]:
    """Time and peak memory of loading the definitions of a large project."""
    place, moment = bench.workplace(bench.sizes.definitions, parse_plain=False), taken()
    kinds: dict[str, Callable[[], Usage]] = {
        "apollo": lambda: place.load("apollo"),
        "stock": lambda: place.load("stock"),
    }
    samples = _interleaved(bench, kinds, bench.sizes.definitions_rounds, "definitions")
    rows = []
    values: list[tuple[str, str, str, Callable[[Usage], float]]] = [
        ("definitions", "loading definitions: time", "s", lambda it: it.seconds),
        ("definitions-memory", "loading definitions: peak memory", "MB", lambda it: it.peak_mb),
    ]
    for key, what, unit, value in values:
        apollo, stock = (median(value(it) for it in samples[kind]) for kind in kinds)
        rows.append(
            Row(
                key,
                what,
                size_text(place.models),
                stock=f"{stock:.1f} {unit}",
                apollo=f"{apollo:.1f} {unit}",
                result=f"{apollo / stock:.2f} ×"
                + (f", CPU {_cpu_ratio(*samples.values())}" if unit == "s" else ""),
                reach="≤ 1/2 of stock",
                reached=apollo <= stock / 2,
                samples=_flat(samples),
                taken=moment,
            )
        )
    return rows


def prepare(bench: Bench) -> list[Row]:
    """`apollo prepare` with nothing to do, above the start of an interpreter."""
    place, moment = bench.workplace(bench.sizes.definitions, parse_plain=False), taken()
    kinds: dict[str, Callable[[], Usage]] = {
        "reference": lambda: place.python("pass"),
        "apollo": place.apollo_prepare,
    }
    samples = _interleaved(bench, kinds, bench.sizes.start_rounds, "prepare")
    reference, apollo = (median(it.seconds for it in samples[kind]) for kind in kinds)
    return [
        Row(
            "prepare",
            "`apollo prepare` with nothing to do",
            size_text(place.models),
            reference=f"`python -c pass` {seconds_text(reference)}",
            apollo=seconds_text(apollo),
            result=f"{apollo - reference:+.2f} s ({apollo / reference:.0f} ×), CPU "
            f"{_cpu(samples['apollo']) - _cpu(samples['reference']):+.2f} s",
            reach="≤ 0.5 s above",
            reached=apollo - reference <= 0.5,  # noqa: PLR2004
            samples=_flat(samples),
            taken=moment,
        )
    ]


def _interleaved(
    bench: Bench, kinds: Mapping[str, Callable[[], Usage]], rounds: int, what: str
) -> dict[str, list[Usage]]:
    samples: dict[str, list[Usage]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, measure in kinds.items():
            samples[kind].append(measure())
    for kind, usages in samples.items():
        bench.say(f"{what}, {kind}: {', '.join(seconds_text(it.seconds) for it in usages)}")
    return samples


def _flat(samples: Mapping[str, Sequence[Usage]]) -> list[dict[str, Any]]:
    return [{"side": kind, **asdict(it)} for kind, usages in samples.items() for it in usages]


def _details(side: Side, place: Workplace, done: RunUsage) -> dict[str, Any]:
    return {
        "side": side,
        "nodes": place.nodes,
        **asdict(done.usage),
        "own_cpu_seconds": done.usage.own_cpu_seconds,
        "connections": done.connections,
        "statements": done.statements,
    }


def _cpu(usages: Sequence[Usage]) -> float:
    return median(it.cpu_seconds for it in usages)


def _cpu_ratio(ours: Sequence[Usage], theirs: Sequence[Usage]) -> str:
    """On a busy machine CPU time says more than time does."""
    return f"{_cpu(ours) / _cpu(theirs):.2f} ×"


def _ratio(ours: float, theirs: float) -> str:
    return f"1/{theirs / ours:.0f} of stock's" if ours else seconds_text(0)
