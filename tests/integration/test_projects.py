"""Other people's projects load, and build with the counts of bare dbt, each node accounted for."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEvent, Definitions

from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.dbt.digest import read_digest
from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.dbt.manifest import is_asset
from dagster_apollo.dbt.prepare import digest_path
from dagster_apollo.run import STATES, NodeResult, read_results
from dagster_apollo.runtime import Runtime, start
from dagster_apollo.settings import TenantSettings
from tests.integration.conftest import MakeEnvironment, OpenHome, RunApollo
from tests.integration.other_peoples_projects import FOLDERS, SKIPPED, TESTS, make_tenants

pytestmark = pytest.mark.integration

TENANTS: Final = tuple(folder.removeprefix("dbt_") for folder in FOLDERS)
UNATTACHED: Final = {"test.gadgets.no_parent"}
"""Tests of nothing: they count, and they are in the log."""
OBSERVED: Final = {
    "test.gadgets.source_not_null_outside_runs_phase.65dc18c62e",
    "test.gadgets.source_parent",
    """test.odd_names.all the "tables" have names, don't they?.b4e1ee285e""",
}
"""Tests of sources that no asset reads: Dagster knows no such asset, and takes observations."""
READ_THEIR_SEEDS: Final = {"a-b", "c d", "collisions"}
"""Bare dbt needs `dbt seed` before their first build."""

LOGGED: Final[Mapping[str, Callable[[DagsterEvent], Mapping[str, Any]]]] = {
    "ASSET_MATERIALIZATION": lambda it: it.step_materialization_data.materialization.metadata,
    "ASSET_CHECK_EVALUATION": lambda it: it.asset_check_evaluation_data.metadata,
    "ASSET_OBSERVATION": lambda it: it.asset_observation_data.asset_observation.metadata,
}
"""The events that a node's result becomes, and their metadata."""

_BARE: Final = """
import json, os, sys
from dbt.cli.main import dbtRunner
for build in json.load(sys.stdin):
    if not os.fork():
        os.chdir(build["folder"])
        os.environ.clear()
        os.environ.update(build["environment"])
        for command in build["commands"]:
            dbtRunner().invoke([command])
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
"""dbt as it comes, which takes long to import, once for all projects."""


@dataclass(frozen=True)
class Built:
    """A tenant that was built by Apollo and by bare dbt."""

    settings: TenantSettings
    summary: Mapping[str, Any]
    results: tuple[NodeResult, ...]
    bare: Mapping[str, int]


def files(root: Path) -> dict[str, int]:
    """All that is below a folder, but for what `dbt deps` puts into a project."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [it for it in folders if it != "dbt_packages"]
        for name in {*folders, *names} - {"package-lock.yml"}:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = 0 if path.is_dir() else path.lstat().st_mtime_ns
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tenants' directory and of what projects reach beside it."""
    root = tmp_path_factory.mktemp("a place")
    make_tenants(root)
    return root


@pytest.fixture(scope="module")
def before(root: Path) -> dict[str, int]:
    return files(root)


@pytest.fixture(scope="module")
def env(root: Path, before: dict[str, int], apollo_env: MakeEnvironment) -> dict[str, str]:
    return apollo_env(root / "tenants")


@pytest.fixture(scope="module")
def build(env: dict[str, str], call_apollo: RunApollo) -> "subprocess.CompletedProcess[str]":
    """All of them, built by one command."""
    ended = call_apollo(["build", "--json"], env)
    assert ended.returncode == 1, ended.stderr  # some are made to fail
    return ended


@pytest.fixture(scope="module")
def runtime(env: dict[str, str], build: object) -> Iterator[Runtime]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PROFILES_DIR", "")
        patch.setenv("DAGSTER_HOME", env["DAGSTER_HOME"])
        yield start(environ=env)


@pytest.fixture(scope="module")
def bare(
    runtime: Runtime, root: Path, env: dict[str, str], apollo_env: MakeEnvironment
) -> Mapping[str, Path]:
    """The target directories of bare dbt, by tenant, each with a DuckDB file of its own."""
    other = start(environ=apollo_env(root / "tenants"))
    targets: dict[str, Path] = {}
    builds = []
    for settings in other.settings.tenants:
        name = settings.tenant.name
        targets[name] = settings.paths.root / "bare"
        targets[name].mkdir(parents=True)
        first = ["seed"] if name in READ_THEIR_SEEDS else []
        environment = {
            **dbt_environment(settings, other.profiles_dir(settings), env),
            "DBT_TARGET_PATH": str(targets[name]),
            "DBT_LOG_PATH": str(targets[name]),
        }
        builds.append(
            {
                "folder": str(settings.tenant.project_dir),
                "environment": environment,
                "commands": [*first, "build"],
            }
        )
    ended = subprocess.run(
        [sys.executable, "-c", _BARE],
        input=json.dumps(builds),
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return targets


@pytest.fixture(scope="module", params=TENANTS)
def built(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    bare: Mapping[str, Path],
    build: "subprocess.CompletedProcess[str]",
) -> Built:
    name: str = request.param
    (settings,) = runtime.settings.of([name])
    summary = json.loads(build.stdout)[name]
    results = read_results(settings.paths.runs / summary["run_id"])
    counted = Counter(it.state for it in read_results(bare[name]))
    return Built(settings, summary, results, {state: counted[state] for state in STATES})


def test_the_counts_are_those_of_bare_dbt(built: Built) -> None:
    assert {state: built.summary[state] for state in STATES} == built.bare
    assert (sum(built.bare.values()) == 0) == (built.settings.tenant.name == "never_starts")


def test_each_result_is_in_the_event_log(
    built: Built, open_home: OpenHome, env: dict[str, str]
) -> None:
    nodes = read_digest(digest_path(built.settings))["nodes"]
    ran = [it for it in built.results if it.state != "skipped" and it.unique_id in nodes]
    assets = {it.unique_id for it in ran if it.state == "success" and is_asset(nodes[it.unique_id])}
    tests = {it.unique_id for it in ran if nodes[it.unique_id]["resource_type"] == "test"}
    logged: dict[str, Counter[str]] = {name: Counter() for name in LOGGED}
    with open_home(env) as instance:
        for entry in instance.all_logs(built.summary["run_id"]):
            event = entry.dagster_event
            if event and event.event_type_value in logged:
                metadata = LOGGED[event.event_type_value](event)
                logged[event.event_type_value][metadata["unique_id"].value] += 1
    assert logged == {
        "ASSET_MATERIALIZATION": Counter(assets),
        "ASSET_CHECK_EVALUATION": Counter(tests - UNATTACHED - OBSERVED),
        "ASSET_OBSERVATION": Counter(tests & OBSERVED),
    }


@pytest.fixture(scope="module")
def definitions(runtime: Runtime) -> Definitions:
    return build_definitions(runtime)


def test_all_of_them_load_together(definitions: Definitions, runtime: Runtime) -> None:
    jobs = set(definitions.get_repository_def().job_names)
    expected = {f"{it.tenant.identifier}_build" for it in runtime.settings.tenants}
    assert len(expected) == len(FOLDERS)
    assert expected <= jobs


@pytest.fixture(scope="module")
def keys(definitions: Definitions) -> set[AssetKey]:
    return {spec.key for spec in definitions.resolve_all_asset_specs()}


def test_keys_that_are_no_trouble_are_dbts_own(keys: set[AssetKey]) -> None:
    names = ("raw/customers", "stg_customers", "a_first_model")
    for tenant in ("a-b", "c_d"):  # of one project, and of the same names
        expected = {AssetKey([tenant, *name.split("/")]) for name in names}
        assert {key for key in keys if key.path[0] == tenant} == expected


def test_keys_that_collide_are_told_apart_by_the_nodes_ids(keys: set[AssetKey]) -> None:
    found = {tuple(key.path[1:]) for key in keys if key.path[0] == "collisions"}
    assert found == {
        ("shop", "orders"),
        ("shop", "orders", "model.annexe.orders"),
        ("shop", "orders", "source.mall.shop.orders"),
        ("shop", "my-orders"),
        ("shop", "my_orders", "model.mall.my_orders"),
        ("shop", "returns"),
        ("shop", "visits"),
        ("raw", "visits"),
        ("bills_v1",),
        ("bills_v1", "model.mall.bills.v2"),
        ("other", "loop"),
        ("other", "loop", "source.mall.other.loop"),
    }


def test_a_test_of_an_ephemeral_model_is_a_check_on_what_that_is_made_from(
    definitions: Definitions,
) -> None:
    graph = definitions.resolve_asset_graph()
    gadgets = AssetKey(["every_kind", "stg_gadgets"])
    assert AssetCheckKey(gadgets, "unique_eph_lamps_gadget_id") in graph.asset_check_keys
    assert AssetCheckKey(gadgets, "ephemeral_parents") in graph.asset_check_keys


def test_owners_and_groups_that_dagster_refuses_are_left_out(definitions: Definitions) -> None:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert specs["meta/warehouse/the_key"].group_name == "not_a_group_"
    assert list(specs["meta/owned"].owners) == ["team:data", "someone@meta.example"]
    assert list(specs["odd_names/context"].owners) == ["sales@odd.example"]


def test_hundreds_are_skipped_and_hundreds_of_tests_run(built: Built) -> None:
    if built.settings.tenant.name == "fails_halfway":
        assert built.summary["skipped"] > SKIPPED
        assert built.summary["success"] > TESTS


def test_a_run_without_results_says_why(build: "subprocess.CompletedProcess[str]") -> None:
    assert "The warehouse is closed on Mondays" in build.stderr
    assert json.loads(build.stdout)["never_starts"]["status"] == "failure"


def test_the_projects_stay_as_they_were(
    root: Path, before: dict[str, int], bare: object, definitions: object
) -> None:
    assert files(root) == before
