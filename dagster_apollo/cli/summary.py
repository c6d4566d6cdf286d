"""What a person reads when a build has ended."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dagster_apollo.cli.progress import STYLES
from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.run import STATES, BuildOutcome, NodeResult

_SLOWEST: Final = 5
_SHOWN_FAILURES: Final = 10
_DUCKDB_LOCK: Final = "Could not set lock on file"


@dataclass(frozen=True)
class TenantBuild:
    """A tenant and the outcome of its build."""

    prepared: TenantProject
    outcome: BuildOutcome
    seconds: float

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.prepared.settings.tenant.name


def to_json(builds: Sequence[TenantBuild]) -> str:
    """The contract of `apollo build --json`: per tenant the run id and dbt's counts."""
    return json.dumps(
        {
            build.name: {
                "run_id": build.outcome.run_id,
                "target": build.prepared.settings.target,
                "status": build.outcome.status.value.lower(),
                **build.outcome.counts,
                "total": sum(build.outcome.counts.values()),
                "seconds": round(build.seconds, 3),
            }
            for build in builds
        },
        indent=2,
    )


def print_summary(builds: Sequence[TenantBuild], console: Console) -> None:
    """Counts by state, the slowest nodes, and each failure with where to look."""
    counts = Table("tenant", "run", *STATES, "seconds", title=None)
    for build in builds:
        row = [
            Text(str(build.outcome.counts[state]), style=STYLES[state] if count else "dim")
            for state, count in build.outcome.counts.items()
        ]
        counts.add_row(build.name, build.outcome.run_id[:8], *row, f"{build.seconds:.1f}")
    console.print(counts)
    for build in builds:
        _print_slowest(build, console)
    for build in builds:
        _print_failures(build, console)
    for build in builds:
        verdict = _verdict(build.outcome)
        console.print(
            Text(f"{build.name}: "), Text(verdict[0], style=verdict[1]), sep="", soft_wrap=True
        )


def _print_slowest(build: TenantBuild, console: Console) -> None:
    slowest = sorted(build.outcome.results, key=lambda result: -result.seconds)[:_SLOWEST]
    if not slowest:
        return
    table = Table("slowest nodes", "seconds")
    for result in slowest:
        table.add_row(_label(result), f"{result.seconds:.2f}")
    console.print(table)


def _print_failures(build: TenantBuild, console: Console) -> None:
    outcome = build.outcome
    failures = [
        result for state in ("error", "warn") for result in outcome.results if result.state == state
    ]
    nodes: Mapping[str, Mapping[str, str]] = {
        **build.prepared.manifest["nodes"],
        **build.prepared.manifest.get("unit_tests", {}),
    }
    for result in failures[:_SHOWN_FAILURES]:
        console.print(
            Text(f"\n{result.state}: {_label(result)}", style=STYLES[result.state]), soft_wrap=True
        )
        _print_indented(result.message, console)
        file = nodes.get(result.unique_id, {}).get("original_file_path")
        if file:
            console.print(f"  file: {build.prepared.settings.tenant.project_dir / file}")
    if len(failures) > _SHOWN_FAILURES:
        console.print(f"\n  ... and {len(failures) - _SHOWN_FAILURES} more")
    if not failures:
        for message in outcome.errors:
            _print_indented(message, console)
    if failures or not outcome.is_success:
        console.print(f"\n  dbt's log: {outcome.target_path / 'dbt.log'}", soft_wrap=True)
        console.print(f"  compiled SQL: {outcome.target_path / 'compiled'}", soft_wrap=True)
        console.print(f"  in the UI (`apollo dev`): /runs/{outcome.run_id}", soft_wrap=True)
    if any(_DUCKDB_LOCK in text for text in (*(r.message for r in failures), *outcome.errors)):
        console.print(
            "  Another process has the DuckDB file open. End it (dbt's message names it), "
            "or wait until it is done, and run the build again.",
            soft_wrap=True,
        )


def _print_indented(message: str, console: Console) -> None:
    for line in message.strip().splitlines():
        console.print(Text(f"  {line}"), soft_wrap=True)


def _label(result: NodeResult) -> str:
    kind, _, rest = result.unique_id.partition(".")
    return f"{kind} {rest.partition('.')[2] or rest}"


def _verdict(outcome: BuildOutcome) -> tuple[str, str]:
    if outcome.is_cancelled:
        return "canceled", "bold yellow"
    if outcome.is_success:
        return "passed", "bold green"
    return "failed", "bold red"
