"""What the tests of the williamgrant tenant share: a copy of it, dbt for that, its raw data."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.forked_dbt import run_dbt

REPO = Path(__file__).resolve().parents[2]
TENANT = REPO / "tenants" / "dbt_williamgrant"
PACKAGE = REPO / "dbt" / "apollo"

PROFILES = """\
apollo-snowflake:
  target: local
  outputs:
    local:
      type: duckdb
      path: "{{ env_var('TEST_DUCKDB_PATH') }}"
      schema: main
      threads: 2
    dev: &snowflake
      type: snowflake
      account: fakesnow
      host: localhost
      port: "{{ env_var('TEST_SNOWFLAKE_PORT', '1') | int }}"
      protocol: http
      user: tester
      password: any
      role: tester
      warehouse: tester
      database: apollo
      schema: "{{ env_var('DBT_SCHEMA', '') }}"
      threads: 2
    prod: *snowflake
    staging: *snowflake
"""


@dataclass(frozen=True)
class Project:
    """A copy of the tenant in a temporary folder, and dbt to run on it."""

    folder: Path
    work: Path

    @property
    def duckdb_path(self) -> Path:
        return self.work / "williamgrant.duckdb"

    def dbt(
        self, *args: str, name: str = "local", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run dbt with artifacts and logs of their own under `name`."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("DBT_", "SNOWFLAKE_"))
        }
        environment |= {
            "DBT_PROFILES_DIR": str(self.work),
            "DBT_LOG_PATH": str(self.work / "logs" / name),
            "DBT_TARGET_PATH": str(self.target(name)),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "TEST_DUCKDB_PATH": str(self.duckdb_path),
        }
        return run_dbt(["--no-use-colors", *args], cwd=self.folder, env=environment | (env or {}))

    def target(self, name: str = "local") -> Path:
        return self.work / "target" / name

    def artifact(self, kind: str, name: str = "local") -> dict[str, Any]:
        return json.loads((self.target(name) / f"{kind}.json").read_text())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.duckdb_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def succeeded(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The result, or dbt's own words about what went wrong."""
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    return result


def statuses(results: dict[str, Any]) -> dict[str, int]:
    """How often each status occurs in run_results.json."""
    found: dict[str, int] = {}
    for result in results["results"]:
        found[result["status"]] = found.get(result["status"], 0) + 1
    return found


Rows = list[dict[str, str]]


def generate(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the tenant's generator as a person would; -B leaves no bytecode in the source tree."""
    return subprocess.run(
        [sys.executable, "-B", "generate.py", *args],
        cwd=TENANT,
        capture_output=True,
        text=True,
        check=False,
    )


def read(folder: Path) -> dict[str, Rows]:
    """All tables in a folder."""
    tables: dict[str, Rows] = {}
    for file in sorted(folder.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as handle:
            tables[file.stem] = list(csv.DictReader(handle))
    return tables


def write(file: Path, rows: Rows) -> None:
    """One table, as the generator writes it."""
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
