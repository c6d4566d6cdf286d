"""`python -m benchmarks`: measures, and writes the table, the samples and the plot."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from benchmarks import scale_table, table
from benchmarks.bench import FULL, QUICK, Bench, with_rounds
from benchmarks.machine import about
from benchmarks.plot import Point, to_svg
from benchmarks.postgres import postgres_server
from benchmarks.registry import all_measurements
from benchmarks.scale import MODELS_OF_MANY, scale_measurements
from benchmarks.scale_table import Column
from benchmarks.table import Row
from dagster_apollo.paths import CHECKOUT

RESULTS: Final = CHECKOUT / "benchmarks" / "results"
DOCUMENT: Final = CHECKOUT / "docs" / "performance.md"
SCALE_DOCUMENT: Final = CHECKOUT / "docs" / "scale.md"
_SCALE_HEADS: Final = {
    "scale-tenants": f"tenants, each of {MODELS_OF_MANY} models + {MODELS_OF_MANY} tests",
    "scale-models": "one tenant, with a test for each model",
}

_QUICK: Final = (
    "small projects, in which starting outweighs the work; the reach is for the full sizes"
)


def main(arguments: Sequence[str]) -> None:
    """Measure what is asked for; what was measured before stays."""
    options = _parse(arguments)
    sizes = QUICK if options.quick else FULL
    if options.rounds:
        sizes = with_rounds(sizes, options.rounds)
    if options.growth:
        sizes = replace(sizes, growth=tuple(options.growth))
    measurements: dict[str, Callable[[Bench], list[Row] | Column]] = {
        **all_measurements(sizes),
        **scale_measurements(sizes),
    }
    if unknown := [it for it in options.only if not named(it, measurements)]:
        known = ", ".join(measurements)
        sys.exit(f"There is no measurement {', '.join(unknown)}; there are {known}.")
    only = {name for it in options.only for name in named(it, measurements)}
    signal.signal(signal.SIGTERM, _stop)
    # short: the path of Postgres's socket, which is below it, may not be long
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, postgres_server() as server:
        bench = Bench(server, Path(folder), sizes)
        for name, measure in measurements.items():
            if name in (only or measurements.keys() - sizes.left_out):
                bench.say(name)
                measured = measure(bench)
                if isinstance(measured, Column):
                    write_scale(measured, quick=options.quick)
                else:
                    write(measured, quick=options.quick)
    for path in (_files(options.quick)["md"], _scale_files(options.quick)["md"]):
        if path.exists():
            print(path.read_text())


def named(text: str, names: Iterable[str]) -> list[str]:
    """The measurement of a name, or those whose names begin with it: `scale-models`, `scale`."""
    return [name for name in names if name == text or name.startswith(f"{text}-")]


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End what is measured, and the servers, in order: another signal does not cut that short."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def write(new: Sequence[Row], *, quick: bool) -> None:
    """Put new rows into the results, and, of a full run, into docs/performance.md."""
    files = _files(quick)
    RESULTS.mkdir(exist_ok=True)
    old = table.from_json(files["json"].read_text()) if files["json"].exists() else []
    # one with no samples says what failed, and when
    measured = [row for row in table.merge(old, new) if (row.samples or row.taken)]
    sizes = QUICK if quick else FULL
    names = list(all_measurements(sizes))
    order = [f"{name}{part}" for name in names for part in ("", "-cpu", "-memory", "-connections")]
    rows = table.in_order([*measured, *table.missing(measured, names)], order)
    described = {**about(), "Taken": table.taken_text(rows), **({"Quick": _QUICK} if quick else {})}
    markdown = table.to_markdown(rows, described)
    files["json"].write_text(table.to_json(rows, described))
    files["md"].write_text(markdown)
    files["svg"].write_text(_plot(rows))
    if not quick:
        DOCUMENT.write_text(table.put_between_markers(DOCUMENT.read_text(), markdown))


def write_scale(new: Column, *, quick: bool) -> None:
    """Put a new column into the results, and, of a full run, into docs/scale.md."""
    files = _scale_files(quick)
    RESULTS.mkdir(exist_ok=True)
    old = scale_table.from_json(files["json"].read_text()) if files["json"].exists() else []
    keys = list(scale_measurements(QUICK if quick else FULL))
    columns = scale_table.merge(old, new, keys)
    described = {**about(), "Taken": table.taken_text(columns)}
    markdown = scale_table.to_markdown(columns, _SCALE_HEADS, described)
    files["json"].write_text(scale_table.to_json(columns, described))
    files["md"].write_text(markdown)
    if not quick:
        text = table.put_between_markers(SCALE_DOCUMENT.read_text(), markdown)
        SCALE_DOCUMENT.write_text(text)


def _plot(rows: Sequence[Row]) -> str:
    series: dict[str, list[Point]] = {"Apollo": [], "stock, in process": [], "stock": []}
    names = {"apollo": "Apollo", "stock in process": "stock, in process", "stock": "stock"}
    for row in rows:
        # the runs' other rows hold the same samples
        if row.key == "growth" or row.key.removeprefix("run-").isdigit():
            for sample in row.samples:
                if sample["side"] in names:
                    point = (float(sample["nodes"]), float(sample["own_cpu_seconds"]))
                    series[names[sample["side"]]].append(point)
    return to_svg(
        series,
        title="What a run costs beside dbt itself",
        x="nodes (models and tests) of the run",
        y="CPU seconds of the orchestrating processes",
    )


def _scale_files(quick: bool) -> dict[str, Path]:  # noqa: FBT001
    name = "scale-quick" if quick else "scale"
    return {suffix: RESULTS / f"{name}.{suffix}" for suffix in ("json", "md")}


def _files(quick: bool) -> dict[str, Path]:  # noqa: FBT001
    name = "quick" if quick else "full"
    return {suffix: RESULTS / f"{name}.{suffix}" for suffix in ("json", "md", "svg")}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small projects, about two minutes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="one measurement, or those whose names begin so; may be repeated: "
        + ", ".join([*all_measurements(FULL), *scale_measurements(FULL)]),
    )
    parser.add_argument("--rounds", type=int, help="how often all is repeated")
    parser.add_argument(
        "--growth",
        type=int,
        nargs=2,
        metavar="MODELS",
        help="other projects for `growth`, where there is no time for 5,000 nodes",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
