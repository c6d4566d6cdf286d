"""Live progress of a dbt build: a bar on a terminal, one line a node elsewhere."""

import threading
import time
from types import TracebackType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from dagster_apollo.dbt.resource import DbtEvent
from dagster_apollo.run import STATES, event_state

STYLES: Final = {
    "success": "green",
    "warn": "yellow",
    "error": "bold red",
    "skipped": "dim",
    "no-op": "dim",
}
_SHOWN_RUNNING: Final = 8


class BuildProgress:
    """Follows one tenant's build from dbt's events, which arrive on another thread."""

    def __init__(self, tenant: str, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, float]] = {}
        self._counts = dict.fromkeys(STATES, 0)
        self._finished: set[str] = set()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task(f"{tenant}: starting dbt", total=None)
        self._tenant = tenant
        # rich looks at the environment for each answer, and for each line that it prints
        self._is_terminal = console.is_terminal
        self._total: int | None = None
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> "BuildProgress":
        if self._is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._live.stop()

    def on_event(self, event: DbtEvent) -> None:
        """Take note of one event of dbt."""
        data, name = event["data"], event["info"].get("name")
        node = data.get("node_info") or {}
        unique_id = str(node.get("unique_id") or "")
        with self._lock:
            if name == "LogStartLine":
                self._running[unique_id] = (str(node.get("node_name")), time.monotonic())
                self._total = data.get("total")
                if self._is_terminal:
                    self._bar.update(self._task, total=self._total, description=self._tenant)
                return
            state = event_state(event)
            if state is None or not unique_id or unique_id in self._finished:
                return
            self._finished.add(unique_id)
            self._running.pop(unique_id, None)
            self._counts[state] += 1
            if self._is_terminal:
                self._bar.update(self._task, advance=1)
        self._report(event, state)

    def _report(self, event: DbtEvent, state: str) -> None:
        """One line for a finished node; on a terminal only for what did not go well."""
        if self._is_terminal and state not in {"warn", "error"}:
            return
        data, node = event["data"], event["data"]["node_info"]
        position = f"{data.get('index', '?')}/{self._total or '?'}"
        seconds = f"  {data['execution_time']:.2f} s" if data.get("execution_time") else ""
        start, end = f"  {position:>9}  ", f"  {node.get('resource_type')} {node.get('node_name')}"
        if not self._is_terminal:
            self._console.file.write(f"{start}{state:<7}{end}{seconds}\n")
            self._console.file.flush()
            return
        self._console.print(
            Text(start),
            Text(f"{state:<7}", style=STYLES[state]),
            Text(f"{end}{seconds}"),
            sep="",
            soft_wrap=True,
        )

    def _render(self) -> RenderableType:
        with self._lock:
            now = time.monotonic()
            running = [
                Text(f"    {name}  {now - begun:.0f} s", style="cyan")
                for name, begun in list(self._running.values())[:_SHOWN_RUNNING]
            ]
            counts = Text("  ").join(
                Text(f"{count} {state}", style=STYLES[state])
                for state, count in self._counts.items()
                if count
            )
        return Group(self._bar, counts, *running)
