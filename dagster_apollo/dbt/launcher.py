"""Starts dbt; run by path with the interpreter of the tenant, so it imports nothing of Apollo.

It is dbt's own command line with five changes.

Other processes of this user cannot look into it (process_privacy.py), nor find its credentials in
the environment of a process that it starts before the project has a say.

dbt ends when the process that started it has ended, however that happened: a run whose process was
killed must not go on building, or hold the lock of a DuckDB file.

The query tag does not count as part of the connection. dbt discards its partial parse whenever a
connection property differs from the last parse's, and the tag names the Dagster run, so every run
would parse the whole project again (SnowflakeCredentials._connection_keys, dbt-snowflake 1.10 and
1.11). Where that name is gone, runs parse, which costs time and changes no result.

A node that writes the table of a source comes before the nodes that read the source. Projects read
their seeds through source(), of which dbt knows nothing, so that a first build fails where it
starts with the readers. Only the order changes: what is selected, and what is skipped after an
error, is as dbt has it (GraphQueue, dbt-core 1.10 and 1.11).

An event that is not written is not made a line of JSON. For each node dbt has some eighteen events
of which its console shows two; as text a line costs little, but as JSON, which is what Dagster
reads, the lines that nobody sees took a tenth of dbt's time (_JsonLogger, dbt-common 1.x).
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

_LOOK_EVERY_SECONDS = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15


def _keep_private() -> None:
    """As process_privacy.py; with a name, by which services/workers.py finds the dbt of a run."""
    if sys.platform == "linux":
        run = os.path.basename(os.environ.get("DBT_TARGET_PATH", ""))  # noqa: PTH119
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NAME, f"dbt-{run}".encode()[:15])
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _start_resource_tracker() -> None:
    """Start what dbt has Python start beside it, without the credentials: it is open to all."""
    from multiprocessing import resource_tracker

    variables = dict(os.environ)
    for name in variables.keys() - {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT"}:
        del os.environ[name]
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ.update(variables)


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _ignore_query_tag_in_partial_parse() -> None:
    from dbt.adapters.snowflake.connections import SnowflakeCredentials

    stock: Any = getattr(SnowflakeCredentials, "_connection_keys", None)
    if stock is None:
        print("apollo: dbt-snowflake has changed; each run parses the project", file=sys.stderr)  # noqa: T201
        return

    def without_query_tag(self: Any) -> tuple[str, ...]:  # noqa: ANN401
        return tuple(key for key in stock(self) if key != "query_tag")

    setattr(SnowflakeCredentials, "_connection_keys", without_query_tag)  # noqa: B010


def _make_json_only_of_what_is_written() -> None:
    try:
        from dbt_common.events import logger
        from dbt_common.events.base_types import EventLevel

        stock: Any = logger._JsonLogger.write_line
    except (ImportError, AttributeError):
        print("apollo: dbt has changed; its events cost more time", file=sys.stderr)  # noqa: T201
        return
    lowest = {EventLevel.DEBUG, EventLevel.TEST}

    def written(self: Any, message: Any) -> None:  # noqa: ANN401
        if message.info.level not in lowest or self.level in lowest:
            stock(self, message)

    setattr(logger._JsonLogger, "write_line", written)  # noqa: B010


def _build_tables_before_they_are_read_as_sources() -> None:
    try:
        from dbt.graph.queue import GraphQueue
    except ImportError:
        print("apollo: dbt has changed; readers of seeds may come first", file=sys.stderr)  # noqa: T201
        return
    stock: Any = GraphQueue.__init__

    def ordered(self: Any, graph: Any, manifest: Any, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        for writer, reader in _unknown_dependencies(graph, manifest):
            if not _leads_to(graph, reader, writer):
                graph.add_edge(writer, reader)
        stock(self, graph, manifest, *arguments, **named)

    setattr(GraphQueue, "__init__", ordered)  # noqa: B010


def _unknown_dependencies(graph: Any, manifest: Any) -> "list[tuple[str, str]]":  # noqa: ANN401
    """Each node of the graph that writes a source's table, with each that reads the source."""
    writers = {_relation(manifest.nodes[it]): it for it in graph if it in manifest.nodes}
    written = {
        key: writers[_relation(source)]
        for key, source in manifest.sources.items()
        if _relation(source) in writers
    }
    return [
        (written[parent], reader)
        for reader in (list(graph) if written else ())
        if reader in manifest.nodes
        for parent in manifest.nodes[reader].depends_on_nodes
        if parent in written
    ]


def _relation(node: Any) -> str:  # noqa: ANN401
    """Where a node's table is, whatever way it is quoted; none for a test."""
    return str(getattr(node, "relation_name", None) or id(node)).replace('"', "").lower()


def _leads_to(graph: Any, start: str, end: str) -> bool:  # noqa: ANN401
    seen, waiting = {start}, [start]
    while waiting:
        new = set(graph.successors(waiting.pop())) - seen
        seen |= new
        waiting.extend(new)
    return end in seen


if __name__ == "__main__":
    _keep_private()
    sys.path.pop(0)  # this file's folder, put there by Python, is no place to import from
    _start_resource_tracker()
    _end_with_parent()
    from dbt.cli.main import cli

    if "APOLLO_QUERY_TAG" in os.environ:  # only Snowflake targets have one
        _ignore_query_tag_in_partial_parse()
    _build_tables_before_they_are_read_as_sources()
    _make_json_only_of_what_is_written()
    sys.argv[0] = "dbt"
    cli()
