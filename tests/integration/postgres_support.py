"""Instances on real Postgres with stock's storage and with Apollo's, and what they leave there."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy
from dagster import DagsterInstance
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from dagster_apollo.instance import postgres_contract
from dagster_apollo.instance.event_buffer import Limits
from tests.integration.conftest import environment

Kind = Literal["stock", "apollo"]

_CONFIG: Mapping[Kind, str] = {
    "stock": "storage: {{postgres: {{postgres_url: '{uri}'}}}}\n",
    "apollo": (
        "storage: {{custom: {{module: dagster_apollo.instance.storage, class: InstanceStorage}}}}\n"
    ),
}
_TABLES = {
    "event_logs": "id",
    "asset_keys": "asset_key",
    "asset_event_tags": "event_id, key",
    "asset_check_executions": "asset_key, check_name, evaluation_event_storage_id, partition",
    "runs": "id",
    "run_tags": "(select id from runs where runs.run_id = run_tags.run_id), key",
    "dynamic_partitions": "partition",
}
_OWN_IDS = {"asset_keys", "asset_event_tags", "asset_check_executions", "run_tags"}
"""Tables whose `id` nothing refers to, and stock's upserts skip numbers of."""
_TIMES = re.compile(r"time|date|duration")
_RANDOM_NAMES = {"pid", "file_key", "log_key"}
_UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_RANDOM = re.compile(r"\b\d+(\.\d+)?(ms|s)\b|pid: \d+|\b[0-9a-f]{64}\b")
"""Durations, processes, and data versions, which are hashes of run ids."""


def psycopg(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg2://")


@contextmanager
def open_instance(
    kind: Kind, uri: str, home: Path, limits: Limits | None = None
) -> Iterator[DagsterInstance]:
    """An instance on a database, as a process of its own would open it."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(
        _CONFIG[kind].format(uri=psycopg(uri)) + "telemetry: {enabled: false}\n"
    )
    names = {"DAGSTER_HOME": str(home), "DAGSTER_PG_URI": uri}
    with environment({**os.environ, **names}), pytest.MonkeyPatch.context() as patch:
        if limits:
            patch.setattr(postgres_contract, "load_limits", lambda: limits)
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance


def rows_of(uri: str, query: str, **parameters: object) -> list[dict[str, Any]]:
    engine = sqlalchemy.create_engine(psycopg(uri), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query), parameters).mappings()]


def contents(uri: str) -> dict[str, list[dict[str, Any]]]:
    """What the tables hold, but for what differs from one run to the next."""
    ids: dict[str, str] = {}

    def named(value: object) -> object:
        if not isinstance(value, str):
            return value
        known = _UUID.sub(lambda match: ids.setdefault(match[0], f"id {len(ids)}"), value)
        return _settled(json.loads(known) if known.startswith("{") else known)

    return {
        table: [
            {
                name: named(value)
                for name, value in row.items()
                if not (name == "id" and table in _OWN_IDS)
                and (not _TIMES.search(name) or value is None)
            }
            for row in rows_of(uri, f"select * from {table} order by {order}")
        ]
        for table, order in _TABLES.items()
    }


def _settled(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: None if _TIMES.search(name) or name in _RANDOM_NAMES else _settled(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if isinstance(value, str):
        return _RANDOM.sub("…", value)
    return value


@dataclass
class Traffic:
    """What went over to the database."""

    connections: int = 0
    statements: list[str] = field(default_factory=list)
    most_open: int = 0
    _open: int = 0


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Count the connections and statements of this process."""
    counted = Traffic()

    def connected(*_: object) -> None:
        counted.connections += 1
        counted._open += 1
        counted.most_open = max(counted.most_open, counted._open)

    def closed(*_: object) -> None:
        counted._open -= 1

    def executed(_c: object, _cur: object, statement: str, *_: object) -> None:
        counted.statements.append(statement)

    listeners = [
        (Pool, "connect", connected),
        (Pool, "close", closed),
        (Engine, "before_cursor_execute", executed),
    ]
    for target, name, listener in listeners:
        event.listen(target, name, listener)
    try:
        yield counted
    finally:
        for target, name, listener in listeners:
            event.remove(target, name, listener)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
