"""Starts dbt; run by path with the interpreter of the tenant, so it imports nothing of Apollo.

It is dbt's own command line with two changes.

dbt ends when the process that started it has ended, however that happened: a run whose process was
killed must not go on building, or hold the lock of a DuckDB file.

The query tag does not count as part of the connection. dbt discards its partial parse whenever a
connection property differs from the last parse's, and the tag names the Dagster run, so every run
would parse the whole project again (SnowflakeCredentials._connection_keys, dbt-snowflake 1.10 and
1.11). Where that name is gone, runs parse, which costs time and changes no result.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

_LOOK_EVERY_SECONDS = 1


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


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, put there by Python, is no place to import from
    _end_with_parent()
    from dbt.cli.main import cli

    if "APOLLO_QUERY_TAG" in os.environ:  # only Snowflake targets have one
        _ignore_query_tag_in_partial_parse()
    sys.argv[0] = "dbt"
    cli()
