"""How what Apollo does grows with the number of tenants, and with the size of one."""

import gzip
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import services, trees
from benchmarks.bench import Bench, Sizes
from benchmarks.cells import seconds_text
from benchmarks.estate import FIRST_MODEL, Estate
from benchmarks.machine import taken
from benchmarks.process import CommandError, Usage
from benchmarks.scale_table import Column

TESTS_PER_MODEL: Final = 1
MODELS_OF_MANY: Final = 10
"""Of each tenant, where there are many."""
_QUERY: Final = (Path(__file__).parent / "asset_graph.graphql").read_text()
_GRAPH_SECONDS: Final = 600


def scale_measurements(sizes: Sizes) -> dict[str, Callable[[Bench], Column]]:
    """The measurements by name; each is a column of a table."""
    many = {f"scale-tenants-{it}": (it, MODELS_OF_MANY) for it in sizes.tenants}
    large = {f"scale-models-{it}": (1, it) for it in sizes.models}
    return {
        name: partial(_column, key=name, tenants=tenants, models=models)
        for name, (tenants, models) in {**many, **large}.items()
    }


def _column(bench: Bench, key: str, tenants: int, models: int) -> Column:
    moment, cells, samples = taken(), {}, []

    def note(what: str, text: str, **sample: Any) -> None:  # noqa: ANN401
        bench.say(f"{key}: {what}: {text}")
        cells[what] = text
        samples.append({"what": what, **sample})

    def prepared(what: str, usage: Usage) -> None:
        text = f"{_times(usage.seconds, usage.cpu_seconds)}, dbt {usage.dbt_parses} ×"
        note(what, text, **asdict(usage))

    estate = Estate(bench.folder / key, tenants, models, TESTS_PER_MODEL)
    prepared("`apollo prepare`, the first", estate.prepare_all())
    prepared("`apollo prepare`, nothing changed", estate.prepare_all())
    estate.change_a_model()
    prepared("`apollo prepare`, one model changed", estate.prepare_all())
    loaded = estate.load("apollo")
    text = f"{_times(loaded.seconds, loaded.cpu_seconds)}, {loaded.peak_mb:,.0f} MB"
    note("process start to all definitions loaded, and peak memory", text, **asdict(loaded))
    bench.make_template(estate)
    seconds, cpu = estate.until_dbt(bench.server.uri(bench.server.make_database()))
    what = "`apollo build` of one tenant until dbt starts"
    note(what, _times(seconds, cpu), seconds=seconds, cpu_seconds=cpu)
    counted = estate.opened()
    text = f"{counted['files']:,} of {counted['tenants']} tenant"
    note("files of tenants that the process of a run opens", text, **counted)
    _served(bench, estate, note)
    return Column(key, _title(tenants, models), cells, samples, moment)


def _served(bench: Bench, estate: Estate, note: Callable[..., None]) -> None:
    """What takes the services: the run worker, and the graph."""
    with services.running("apollo", estate, bench.server) as up:
        watch = trees.MemoryWatch(up.pids)
        watch.start()
        try:
            took, size, sent = _asset_graph(up.url)
            packed = f" ({sent / 1e6:,.2f} MB compressed)" if sent < size else ""
            text = f"{seconds_text(took)}, {size / 1e6:,.2f} MB{packed}"
            note("the UI's graph of all assets", text, seconds=took, bytes=size, sent=sent)
            run = up.launch(bench.server, job="__ASSET_JOB", assets=[FIRST_MODEL])
        finally:
            watch.end()
        note(
            "one asset materialized from the UI: from the launch of its process to the run's start",
            seconds_text(run.starting_seconds),
            **asdict(run),
        )
        peaks = {name: watch.peaks[name] for name in (trees.RUN_WORKER, "code server", "webserver")}
        text = ", ".join(f"{value:,.0f}" for value in peaks.values()) + " MB"
        note("peak memory (PSS) of run worker without dbt, code server, webserver", text, **peaks)


def _asset_graph(url: str) -> tuple[float, int, int]:
    """Seconds, bytes, and compressed bytes of what the UI draws the graph from."""
    body = json.dumps({"query": _QUERY, "variables": {"name": "apollo"}}).encode()
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    request = urllib.request.Request(f"{url}/graphql", body, headers)  # noqa: S310
    begun = time.monotonic()
    with urllib.request.urlopen(request, timeout=_GRAPH_SECONDS) as response:  # noqa: S310
        sent = response.read()
        is_packed = response.headers.get("Content-Encoding") == "gzip"
    seconds = time.monotonic() - begun
    text = gzip.decompress(sent) if is_packed else sent
    entry = json.loads(text)["data"]["workspaceLocationEntryOrError"]
    if not entry["locationOrLoadError"]["repositories"][0]["assetNodes"]:
        raise CommandError(f"{url}: the graph has no assets")
    return seconds, len(text), len(sent)


def _times(seconds: float, cpu_seconds: float) -> str:
    return f"{seconds_text(seconds)} (CPU {seconds_text(cpu_seconds)})"


def _title(tenants: int, models: int) -> str:
    return f"{models:,} models" if tenants == 1 and models != MODELS_OF_MANY else f"{tenants:,}"
