"""A tenant that needs another dbt has it, in an environment of its own, and Apollo none of it."""

import base64
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from uv import find_uv_bin

from dagster_apollo.checks import tenant_checks
from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.code_location import load_project
from dagster_apollo.dbt.interpreter import interpreter_of, own_versions
from dagster_apollo.dbt.own_environment import make_environment
from dagster_apollo.dbt.prepare import (
    NotPrepared,
    Prepared,
    check_freshness,
    manifest_path,
    prepare_each,
)
from dagster_apollo.dbt.project import tenant_project
from dagster_apollo.dbt.resource import TenantDbtResource
from dagster_apollo.dbt.selection import resolve_selection
from dagster_apollo.errors import PrepareError
from dagster_apollo.own_variables import is_host_variable
from dagster_apollo.runtime import Runtime, start
from dagster_apollo.settings import TenantSettings
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    RunApollo,
    environment,
    run_python,
)
from tests.integration.other_peoples_projects import PROJECTS

pytestmark = pytest.mark.integration

OTHER: Final = "1.10" if own_versions()["dbt-core"].startswith("1.11.") else "1.11"
"""A minor version of dbt that is not Apollo's own."""

_BUILD: Final = """
import json, os, sys
from dagster_apollo.cli import main
sys.argv = ["apollo", "build", "--json"]
try:
    main()
except SystemExit as ended:
    code = ended.code
below = os.path.realpath(os.environ["DAGSTER_HOME"]) + os.sep
places = [*sys.path, *(str(getattr(it, "__file__", "")) for it in list(sys.modules.values()))]
print(json.dumps([code, [it for it in places if os.path.realpath(it).startswith(below)]]))
"""
"""`apollo build`, and what its process imported from, or could import from, below its home."""


@dataclass(frozen=True)
class Home:
    """A tenant with a dbt of its own and one with Apollo's, prepared side by side."""

    env: Mapping[str, str]
    runtime: Runtime
    outcomes: list[Prepared | NotPrepared]
    steps: list[tuple[str, str]]

    @property
    def own(self) -> TenantSettings:
        return self.runtime.settings.of(["own"])[0]


def with_uv(env: Mapping[str, str]) -> dict[str, str]:
    """An environment with the package index, and the cache, of whoever runs the tests."""
    cache = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, check=True)
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("UV_") or is_host_variable(name)
    }
    return {**_index_of_pip(), **given, **env, "UV_CACHE_DIR": cache.stdout.decode().strip()}


def _index_of_pip() -> dict[str, str]:
    """Where this host's pip takes packages from, which made the tests' own environment."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    said = subprocess.run(asked, capture_output=True, check=False).stdout.decode().strip()
    index = os.environ.get("PIP_INDEX_URL") or said
    return {"UV_DEFAULT_INDEX": index} if index else {}


def prepared(env: Mapping[str, str]) -> Home:
    steps: list[tuple[str, str]] = []
    with environment(env):
        runtime = start()
        outcomes = prepare_each(
            runtime.settings.tenants,
            runtime.profiles_dir,
            env,
            progress=lambda tenant, step: steps.append((tenant.tenant.name, step)),
        )
    return Home(env, runtime, outcomes, steps)


@pytest.fixture(scope="module")
def home(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> Home:
    tenants = copy_tenants(own=PROJECTS / "own_environment", small=SMALL)
    config = f"requirements: requirements-dbt-{OTHER}.txt\n"
    (tenants / "own" / "apollo.yml").write_text(config)
    return prepared(with_uv(apollo_env(tenants)))


@pytest.fixture(scope="module")
def build(home: Home) -> Any:
    """`apollo build` of both: its results by tenant, its exit code, and its imports from them."""
    lines = run_python(_BUILD, home.env).stdout.splitlines()
    return (json.loads("\n".join(lines[:-1])), *json.loads(lines[-1]))


def test_both_are_prepared_and_only_the_one_that_asks_for_it_gets_an_environment(home):
    assert [it.reason for it in home.outcomes if isinstance(it, NotPrepared)] == []
    assert [step for tenant, step in home.steps if tenant == "own"] == [
        "environment",
        "parse",
        "done",
    ]
    assert "environment" not in [step for tenant, step in home.steps if tenant == "small"]
    (small,) = home.runtime.settings.of(["small"])
    assert interpreter_of(small).environment is None
    assert not small.paths.environments.exists()


def test_each_manifest_is_of_the_dbt_of_its_tenant(home):
    found = {
        settings.tenant.name: json.loads(manifest_path(settings).read_bytes())["metadata"]
        for settings in home.runtime.settings.tenants
    }
    assert found["small"]["dbt_version"] == own_versions()["dbt-core"]
    assert found["own"]["dbt_version"].startswith(f"{OTHER}.")
    assert found["own"]["dbt_version"] == interpreter_of(home.own).versions["dbt-core"]


def test_both_build_and_nothing_of_the_environment_is_in_apollos_process(build):
    results, code, imported = build
    assert code == 0
    assert {name: item["status"] for name, item in results.items()} == {
        "own": "success",
        "small": "success",
    }
    assert imported == []


def test_the_tenants_python_and_dbt_are_its_own(home, build):
    with duckdb.connect(home.own.paths.duckdb_file, read_only=True) as connection:
        [(version,)] = connection.execute("select dbt_version from main_marts.versions").fetchall()
        [(found,)] = connection.execute("select found from main_marts.surroundings").fetchall()
    environment = interpreter_of(home.own).environment
    surroundings = json.loads(found)
    assert version.startswith(f"{OTHER}.")
    assert surroundings["prefix"] == str(environment)
    assert surroundings["apollo"] is False
    packages = [it for it in surroundings["path"] if it.endswith("site-packages")]
    assert [Path(it).is_relative_to(environment) for it in packages] == [True]


def test_plain_dbt_is_the_tenants_too(home, run_apollo: RunApollo):
    ended = run_apollo(["dbt", "own", "--", "--version"], home.env)
    assert f"installed: {interpreter_of(home.own).versions['dbt-core']}" in ended.stdout


@pytest.fixture(scope="module")
def project(home: Home) -> TenantProject:
    with environment(home.env):
        return load_project(home.runtime, home.own)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("tag:daily", {"model.elsewhere.versions"}),
        ("group:sales", {"model.elsewhere.versions"}),
        ("+days", {"model.elsewhere.days", "unit_test.elsewhere.days.a_day_is_kept"}),
        ("+metric:how_many", {"semantic_model.elsewhere.versions", "metric.elsewhere.how_many"}),
        ("+saved_query:all_of_them", {"saved_query.elsewhere.all_of_them"}),
        ("+exposure:report", {"model.elsewhere.days"}),
        ("test_type:unit", {"unit_test.elsewhere.days.a_day_is_kept"}),
    ],
)
def test_apollos_dbt_selects_from_the_manifest_of_another(project, select, expected):
    selection = resolve_selection(
        project.manifest, project.translator, project.project, select=select, exclude=None
    )
    assert expected <= selection.unique_ids
    assert "model.elsewhere.surroundings" not in selection.unique_ids


def test_doctor_tells_of_the_tenants_versions(home):
    checks = {check.name: check for check in tenant_checks(home.own)}
    versions = interpreter_of(home.own).versions
    assert checks["dbt-duckdb"].finding == versions["dbt-duckdb"]
    assert checks["dbt-core"].finding == versions["dbt-core"]
    assert {check.status for check in checks.values()} <= {"ok", "warning"}


def test_what_is_made_is_used_again(home):
    again = prepared(home.env)
    assert sorted(again.steps) == [("own", "fresh"), ("small", "fresh")]


def test_a_host_without_it_says_what_to_run(home, tmp_path):
    (home.own.paths.root / "environments").rename(tmp_path / "environments")
    try:
        assert "not made" in str(check_freshness(home.own).reason)
        project = tenant_project(home.own, home.runtime.profiles_dir(home.own))
        dbt = TenantDbtResource(home.own, project)
        with pytest.raises(PrepareError, match="Run `apollo prepare`"):
            dbt.cli(["parse"])
    finally:
        (tmp_path / "environments").rename(home.own.paths.root / "environments")


# --- what cannot be made, with wheels that are made here -----------------------------------------


@dataclass
class Index:
    """A package index that refuses everybody, and remembers who they said they are."""

    port: int
    heard: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.heard.append(self.headers.get("Authorization", ""))
            self.send_response(403)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        known = Index(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield known
        server.shutdown()


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """A package of nothing but its name and version."""
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@dataclass(frozen=True)
class Bench:
    """A tenant whose requirements a test writes."""

    folder: Path
    env: dict[str, str]

    def reason(self, requirements: str, config: str = "", **variables: str) -> str:
        """Why the tenant cannot be prepared."""
        (self.folder / "apollo.yml").write_text(f"requirements: packages.txt\n{config}")
        (self.folder / "packages.txt").write_text(requirements)
        (outcome,) = prepared({**self.env, **variables}).outcomes
        assert isinstance(outcome, NotPrepared)
        return outcome.reason


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, apollo_env: MakeEnvironment) -> Bench:
    tenants = tmp_path_factory.mktemp("tenants")
    folder = tenants / "acme"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text('name: acme\nversion: "1.0"\n')
    for name, version in (("dbt-core", "1.10.99"), ("dbt-core", "1.3.0"), ("dbt-duckdb", "1.10.0")):
        make_wheel(folder, name, version)
    return Bench(folder, {**with_uv(apollo_env(tenants)), "UV_OFFLINE": "1"})


CORE: Final = "./dbt_core-1.10.99-py3-none-any.whl"


@pytest.mark.parametrize(
    ("requirements", "config", "said"),
    [
        ("no-such-package==1\n", "", ("no-such-package", "UV_DEFAULT_INDEX", "uv, exit code 1")),
        (f"{CORE}\n", 'python: "3.99"\n', ("3.99", "`python:` in apollo.yml")),
        (f"{CORE}\n", "", ("install no dbt-duckdb", "target local", "packages.txt")),
        ("./dbt_duckdb-1.10.0-py3-none-any.whl\n", "", ("install no dbt-core",)),
        (
            "./dbt_core-1.3.0-py3-none-any.whl\n./dbt_duckdb-1.10.0-py3-none-any.whl\n",
            "",
            ("dbt-core 1.3.0", ">=1.9"),
        ),
        (f"{CORE} --hash=sha256:{'0' * 64}\n", "", ("ash mismatch", "dbt-core")),
    ],
)
def test_what_cannot_be_made_is_said_with_its_mend(bench, requirements, config, said):
    reason = bench.reason(requirements, config)
    assert [text for text in said if text not in reason] == []
    assert "Traceback" not in reason


def test_credentials_reach_the_index_and_no_message(bench, index):
    reason = bench.reason(
        f"-i http://reader:${{DBT_ENV_SECRET_INDEX}}@127.0.0.1:{index.port}/index?key=k1\n"
        "dbt-core==1.10.23\n",
        UV_OFFLINE="false",
        DBT_ENV_SECRET_INDEX="hunter2-hunter2",
    )
    told = [base64.b64decode(it.removeprefix("Basic ")).decode() for it in index.heard if it]
    assert "reader:hunter2-hunter2" in told
    assert "hunter2" not in reason
    assert "reader" not in reason
    assert f"127.0.0.1:{index.port}" in reason


def test_what_dbt_runs_in_stays_and_what_nothing_uses_goes(bench):
    reasons = [bench.reason(f"{CORE}\n# {number}\n") for number in range(2)]
    assert ["dbt-duckdb" in reason for reason in reasons] == [True, True]
    with environment(bench.env):
        (settings,) = start().settings.tenants
    kept = interpreter_of(settings)
    assert environments(settings) == {kept.environment}, "the first one has gone"
    with kept.held():
        bench.reason(f"{CORE}\n# 2\n")
        assert len(environments(settings)) == 2
        with pytest.raises(PrepareError, match="in use"):
            make_environment(settings, kept, bench.env, run_uv)
    bench.reason(f"{CORE}\n# 3\n")
    assert len(environments(settings)) == 1


def test_one_whose_making_was_killed_is_made_anew(bench):
    bench.reason(f"{CORE}\n# killed\n")
    with environment(bench.env):
        (settings,) = start().settings.tenants
    interpreter = interpreter_of(settings)
    interpreter.python.unlink()
    assert not interpreter.is_there
    (settings.paths.environments / ".making").mkdir()
    bench.reason(f"{CORE}\n# killed\n")
    assert interpreter.is_there
    assert environments(settings) == {interpreter.environment}


def environments(settings: TenantSettings) -> set[Path]:
    return {it for it in settings.paths.environments.iterdir() if it.is_dir()}


def run_uv(
    command: Any, folder: Path, env: Mapping[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)
