"""One dbt project and the three ways to run it: bare dbt, Apollo, stock Dagster.

All three start dbt with the same profile (DuckDB, four threads), each on a project folder and a
database file of its own, with a partial parse that is warm. A run that parsed all the same is an
error, not a result.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml

from benchmarks import process
from benchmarks.postgres import Server
from benchmarks.process import CommandError, Usage
from benchmarks.projects import make_project
from dagster_apollo.contract import (
    DEFAULT_THREADS,
    ComputeLogEnvironment,
    ProcessEnvironment,
    TenantEnvironment,
)
from dagster_apollo.dbt.process import dbt_command
from dagster_apollo.paths import CHECKOUT, TenantPaths

Side = Literal["bare", "apollo", "stock", "stock in process"]
NAME: Final = "bench"
_HOST: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ")
_CONTRACT: Final = (ProcessEnvironment, TenantEnvironment, ComputeLogEnvironment)
_PARSED: Final = ("Unable to do partial parsing", "Partial parsing not enabled")
_POOLED: Final = "postgresql+psycopg2://"


@dataclass(frozen=True)
class RunUsage:
    """What one run took, and what it did to the database (nothing, for bare dbt)."""

    usage: Usage
    connections: int = 0
    statements: int = 0


class Workplace:
    """A project of some size, below a folder of its own.

    Args:
        root: the folder, which is made.
        models: how many models the project has; each has three tests.
    """

    def __init__(self, root: Path, models: int, tests_per_model: int = 3) -> None:
        self.models = models
        self.tests = models * tests_per_model
        self._root = root
        self._tenants = root / "tenants"
        self._home = root / "apollo"
        self._paths = TenantPaths(self._home, NAME, "local")
        self._plain = root / "plain" / NAME
        self._profiles = root / "profiles"
        self._duckdb = root / f"{NAME}.duckdb"
        self._stock_home = root / "stock"
        for folder in (self._tenants, self._home, self._profiles, self._stock_home, root / "tmp"):
            folder.mkdir(parents=True)
        make_project(self._tenants / f"dbt_{NAME}", models, tests_per_model)
        shutil.copytree(self._tenants / f"dbt_{NAME}", self._plain)
        output = {
            "type": "duckdb",
            "path": os.fspath(self._duckdb),
            "schema": "main",
            "threads": DEFAULT_THREADS["local"],
        }
        profile = {NAME: {"target": "local", "outputs": {"local": output}}}
        (self._profiles / "profiles.yml").write_text(yaml.safe_dump(profile))
        (self._stock_home / "dagster.yaml").write_text(
            "storage: {postgres: {postgres_url: {env: DAGSTER_PG_URI}}}\n"
            "telemetry: {enabled: false}\n"
        )

    @property
    def nodes(self) -> int:
        """How many nodes dbt builds."""
        return self.models + self.tests

    def prepare(self) -> None:
        """Prepare Apollo's tenant, and give stock the manifest that this made."""
        self.apollo_prepare()
        target = self._plain / "target"
        target.mkdir()
        shutil.copy(self._paths.prepared / "manifest.json", target)

    def parse_plain(self) -> None:
        """Parse the plain project: what stock and bare dbt start from when they run it."""
        env = self._dbt_environment(self._plain / "target")
        process.run(dbt_command(["parse"]), env=env, cwd=self._plain, log=self._log)

    def apollo_prepare(self) -> Usage:
        """`apollo prepare`."""
        return self.run([*apollo_command(), "prepare", NAME], self.apollo_environment())

    def python(self, code: str) -> Usage:
        """`python -c`, with the environment of the others."""
        return self.run([sys.executable, "-c", code], self._environment())

    def load(self, side: Side) -> Usage:
        """Start a process and load the definitions, as a code server does."""
        module, env = "dagster_apollo.definitions", self.apollo_environment()
        if side != "apollo":
            module, env = "benchmarks.stock.definitions", self.stock_environment()
        code = f"from {module} import defs; defs.get_repository_def()"
        return self.run([sys.executable, "-c", code], env)

    def output(self, command: list[str], env: Mapping[str, str]) -> str:
        """Run a command to its end and return what it printed."""
        self.run(command, env)
        return self._log.read_text(errors="replace")

    def build(self, side: Side, server: Server, *, log_statements: bool = False) -> RunUsage:
        """Run the project once, from launch to finished, on a new database.

        Raises:
            CommandError: it failed, did not do all of its work, or parsed the project.
        """
        self.tidy()
        if side == "bare":
            usage = self._bare_build()
            self._require_partial_parse(self._root / "bare")
            return RunUsage(usage)
        database = server.make_database(log_statements=log_statements)
        if side == "apollo":
            env = self.apollo_environment(server.uri(database))
            usage = self.run([*apollo_command(), "build", NAME], env)
        else:
            env = self.stock_environment(
                server.uri(database), "multiprocess" if side == "stock" else "in_process"
            )
            command = ["dagster", "job", "execute", "-m", "benchmarks.stock.definitions"]
            usage = self.run([*command, "-j", "build"], env)
        done = RunUsage(
            usage,
            server.connections(database),
            server.statements(database) if log_statements else 0,
        )
        self.verify(side, server, database)
        return done

    def verify(self, side: Side, server: Server, database: str, runs: int = 1) -> None:
        """Make sure that Dagster's runs did all of their work, and the last did not parse.

        Raises:
            CommandError: they did not.
        """
        if side == "apollo":
            self._require_partial_parse(self._paths.runs)
        else:
            (target,) = (self._plain / "target").glob("models-*")
            self._require_partial_parse(target)
        for kind, expected in (
            ("ASSET_MATERIALIZATION", self.models),
            ("ASSET_CHECK_EVALUATION", self.tests),
            ("PIPELINE_SUCCESS", 1),
        ):
            if (found := server.events(database, kind)) != runs * expected:
                raise CommandError(f"{side}: {found} events {kind}, not {runs * expected}")

    @property
    def root(self) -> Path:
        """The folder that holds all of it."""
        return self._root

    @property
    def stock_home(self) -> Path:
        """Stock's instance directory."""
        return self._stock_home

    def forget_instance(self) -> None:
        """Let Apollo's next command say anew how its instance is set up: services differ."""
        (self._home / "dagster.yaml").unlink(missing_ok=True)

    def apollo_environment(self, uri: str = "") -> dict[str, str]:
        """The environment of `apollo`: every variable of its contract, so that no .env counts."""
        unset = {name.upper(): "" for model in _CONTRACT for name in model.model_fields}
        return {
            **self._environment(),
            **unset,
            "DBT_TARGET": "local",
            "DAGSTER_HOME": os.fspath(self._home),
            "DAGSTER_PG_URI": uri,
            "APOLLO_TENANTS_DIR": os.fspath(self._tenants),
        }

    def stock_environment(self, uri: str = "", executor: str = "multiprocess") -> dict[str, str]:
        """The environment of stock Dagster."""
        return {
            **self._environment(),
            "DAGSTER_HOME": os.fspath(self._stock_home),
            "DAGSTER_PG_URI": uri.replace("postgresql://", _POOLED),
            "BENCHMARK_PROJECT": os.fspath(self._plain),
            "BENCHMARK_PROFILES": os.fspath(self._profiles),
            "BENCHMARK_EXECUTOR": executor,
        }

    def peer_environment(self, python: Path) -> dict[str, str]:
        """The environment of a peer, which has packages of its own and no part of this checkout."""
        env = self._dbt_environment(self._new_target("peer"))
        del env["PYTHONPATH"]
        return {
            **env,
            "PATH": os.pathsep.join([os.fspath(python.parent), os.environ["PATH"]]),
            "BENCHMARK_PROJECT": os.fspath(self._plain),
            "BENCHMARK_PROFILE": NAME,
            "BENCHMARK_PROFILES": os.fspath(self._profiles),
        }

    def _new_target(self, name: str) -> Path:
        """A target folder with nothing but a warm partial parse."""
        target = self._root / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        shutil.copy(self._plain / "target" / "partial_parse.msgpack", target)
        return target

    def _bare_build(self) -> Usage:
        target = self._new_target("bare")
        env = self._dbt_environment(target)
        return process.run(dbt_command(["build"]), env=env, cwd=self._plain, log=self._log)

    def tidy(self) -> None:
        """Remove what the last run left: databases, and target folders of runs."""
        for database in self._root.rglob(f"{NAME}.duckdb*"):
            database.unlink()
        for folder in (self._plain / "target").glob("models-*"):
            shutil.rmtree(folder)
        shutil.rmtree(self._paths.runs, ignore_errors=True)

    def _require_partial_parse(self, folder: Path) -> None:
        logs = list(folder.rglob("dbt.log"))
        if not logs:
            raise CommandError(f"{folder} holds no dbt.log")
        if any(text in log.read_text(errors="replace") for log in logs for text in _PARSED):
            raise CommandError(f"dbt parsed the whole project: see {folder}")

    def run(self, command: list[str], env: Mapping[str, str]) -> Usage:
        """Run a command to its end, below this project's own folder."""
        return process.run(command, env=env, cwd=self._root, log=self._log)

    @property
    def _log(self) -> Path:
        return self._root / "output.log"

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **{name: os.environ[name] for name in _HOST if name in os.environ},
            "PATH": path,
            "PYTHONPATH": os.fspath(CHECKOUT),
            "HOME": os.fspath(self._root),
            "TMPDIR": os.fspath(self._root / "tmp"),
            "COLUMNS": "240",
        }

    def _dbt_environment(self, target: Path) -> dict[str, str]:
        """What Apollo's dbt gets, less the JSON: bare dbt writes for a person."""
        return {
            **self._environment(),
            "DBT_PROFILES_DIR": os.fspath(self._profiles),
            "DBT_TARGET_PATH": os.fspath(target),
            "DBT_LOG_PATH": os.fspath(target),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_USE_COLORS": "false",
            "DBT_VERSION_CHECK": "false",
            "DO_NOT_TRACK": "1",
        }


def apollo_command() -> list[str]:
    """What starts the `apollo` of this checkout."""
    return [sys.executable, "-m", "dagster_apollo.cli"]


def migrate(server: Server, workplace: Workplace) -> None:
    """Make the template of the databases by `apollo migrate`: Dagster's own schema, at head."""
    env = workplace.apollo_environment(server.make_template())
    workplace.run([*apollo_command(), "migrate"], env)
