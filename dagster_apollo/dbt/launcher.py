"""Starts dbt; run by path with the interpreter of the tenant, so it imports nothing of Apollo.

It is dbt's own command line with one change: the query tag no longer counts as part of the
connection. dbt discards its partial parse whenever a connection property differs from the last
parse's, and the tag names the Dagster run, so every run would parse the whole project again
(SnowflakeCredentials._connection_keys, dbt-snowflake 1.10 and 1.11).
"""

import os
import sys
from typing import Any


def _ignore_query_tag_in_partial_parse() -> None:
    from dbt.adapters.snowflake.connections import SnowflakeCredentials

    stock: Any = SnowflakeCredentials._connection_keys

    def without_query_tag(self: Any) -> tuple[str, ...]:  # noqa: ANN401
        return tuple(key for key in stock(self) if key != "query_tag")

    setattr(SnowflakeCredentials, "_connection_keys", without_query_tag)  # noqa: B010


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, put there by Python, is no place to import from
    from dbt.cli.main import cli

    if "APOLLO_QUERY_TAG" in os.environ:  # only Snowflake targets have one
        _ignore_query_tag_in_partial_parse()
    sys.argv[0] = "dbt"
    cli()
