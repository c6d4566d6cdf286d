"""What a tenant reads of another, as the UI's lineage has it, and as no run has it."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetCheckKey, AssetKey, DagsterInstance, Definitions
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.runtime import start
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    RunApollo,
    environment,
)

pytestmark = pytest.mark.integration

MART, REPORT = AssetKey(["shared", "marts", "customers"]), AssetKey(["reader", "report"])
SOURCE = AssetKey(["reader", "shared_marts", "customers"])
READER: Mapping[str, Any] = {
    "dbt_project.yml": {"name": "reader", "profile": "apollo-snowflake"},
    "apollo.yml": {"reads": {"shared_marts": "shared/marts"}},
    "models/sources.yml": {
        "sources": [
            {
                "name": "shared_marts",
                "schema": "marts",
                "tables": [{"name": "customers", "columns": [{"name": "id", "tests": ["unique"]}]}],
            }
        ]
    },
}
NODES = "{ assetNodes { assetKey { path } dependencyKeys { path } dependedByKeys { path } } }"


@pytest.fixture(scope="module")
def env(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> dict[str, str]:
    """`shared`, and `reader`, whose only model reads a mart of it; both are prepared."""
    tenants_dir = copy_tenants(dbt_shared=SMALL)
    (tenants_dir / "reader" / "models").mkdir(parents=True)
    for name, content in READER.items():
        (tenants_dir / "reader" / name).write_text(yaml.safe_dump(content))
    report = "select * from {{ source('shared_marts', 'customers') }}"
    (tenants_dir / "reader" / "models" / "report.sql").write_text(report)
    made = apollo_env(tenants_dir)
    ended = call_apollo(["prepare"], made)
    assert ended.returncode == 0, ended.stderr
    return made


@contextlib.contextmanager
def declaring(env: Mapping[str, str], tenant: str, reads: Mapping[str, str]) -> Iterator[None]:
    path = Path(env["APOLLO_TENANTS_DIR"], tenant, "apollo.yml")
    before = path.read_text() if path.exists() else ""
    path.write_text(yaml.safe_dump({"reads": reads}))
    try:
        yield
    finally:
        path.write_text(before)


def loaded(env: Mapping[str, str]) -> Definitions:
    with environment(env):
        return build_definitions(start())


def parents(definitions: Definitions, key: AssetKey) -> set[AssetKey]:
    return set(definitions.get_repository_def().asset_graph.get(key).parent_keys)


@pytest.fixture(scope="module")
def ask(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Ask GraphQL of code locations that serve these tenants, one location for each argument."""
    folder = tmp_path_factory.mktemp("locations")

    def of(*locations: tuple[str, ...]) -> dict[AssetKey, tuple[set[AssetKey], set[AssetKey]]]:
        origins = []
        for names in locations:
            path = folder / f"{'_'.join(names)}.py"
            path.write_text(
                "from dagster_apollo.dbt.run_scope import definitions_of\n"
                f"defs = definitions_of(*{names!r})\n"
            )
            target = LoadableTargetOrigin(python_file=str(path))
            origins.append(InProcessCodeLocationOrigin(target, location_name=path.stem))
        with (
            environment(env),
            DagsterInstance.local_temp(str(folder)) as instance,
            WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origins)) as process,
        ):
            result = execute_dagster_graphql(process.create_request_context(), NODES)
        return {
            AssetKey(node["assetKey"]["path"]): (
                {AssetKey(it["path"]) for it in node["dependencyKeys"]},
                {AssetKey(it["path"]) for it in node["dependedByKeys"]},
            )
            for node in result.data["assetNodes"]
        }

    return of


@pytest.mark.parametrize("locations", [[("reader", "shared")], [("reader",), ("shared",)]], ids=len)
def test_the_mart_and_what_reads_it_are_joined(
    ask: Callable[..., Any], locations: list[tuple[str, ...]]
) -> None:
    nodes = ask(*locations)
    assert nodes[REPORT][0] == {MART}
    assert nodes[SOURCE] == ({MART}, set())
    upstream, downstream = nodes[MART]
    assert {REPORT, SOURCE} <= downstream
    assert AssetKey(["shared", "marts", "orders"]) in upstream


def test_a_tenant_that_another_server_has_is_read_all_the_same(ask: Callable[..., Any]) -> None:
    assert ask(("reader",))[REPORT][0] == {MART}


def test_no_job_runs_the_dbt_of_two_tenants(env: dict[str, str]) -> None:
    repository = loaded(env).get_repository_def()
    checks = {}
    for tenant in ("reader", "shared"):
        job = repository.get_job(f"{tenant}_build")
        keys = job.asset_layer.get_selected_entity_keys_for_node(
            NodeHandle(f"{tenant}_dbt_build", None)
        )
        assert len(job.nodes) == 1
        checks[tenant] = {it for it in keys if isinstance(it, AssetCheckKey)}
        places = {it.asset_key if isinstance(it, AssetCheckKey) else it for it in keys}
        assert {key.path[0] for key in places} == {tenant}
    assert [it.asset_key for it in checks["reader"]] == [SOURCE]


def test_the_op_of_a_tenant_has_not_the_name_of_anothers_job(env: dict[str, str]) -> None:
    """Dagster finds it out only when it loads the job, and then loads no job of any tenant."""
    folder = Path(env["APOLLO_TENANTS_DIR"], "reader_dbt")
    folder.mkdir()  # it has no project, so it is there as failed
    try:
        jobs = {it.name: it for it in loaded(env).get_repository_def().get_all_jobs()}
    finally:
        folder.rmdir()
    assert {"reader_build", "reader_dbt_build", "shared_build"} <= jobs.keys()
    assert [it.name for it in jobs["reader_build"].nodes] == ["reader_build_dbt"]


def test_a_tenant_that_fails_to_load_does_not_break_what_reads_it(env: dict[str, str]) -> None:
    path = Path(env["APOLLO_TENANTS_DIR"], "dbt_shared", "apollo.yml")
    path.write_text("no_such_key: 1")
    try:
        definitions = loaded(env)
    finally:
        path.unlink()
    assert parents(definitions, REPORT) == {MART}
    keys = definitions.get_repository_def().asset_graph.get_all_asset_keys()
    assert AssetKey(["shared", "failed_to_load"]) in keys


def test_an_asset_that_does_not_exist_fails_the_preparation_and_no_load(
    env: dict[str, str], call_apollo: RunApollo, caplog: pytest.LogCaptureFixture
) -> None:
    with declaring(env, "reader", {"shared_marts.customers": "shared/marts/custmers"}):
        ended = call_apollo(["prepare"], env)
        with caplog.at_level(logging.ERROR):
            definitions = loaded(env)
    assert ended.returncode == 2
    said = "there is no asset shared/marts/custmers. Is it shared/marts/customers"
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert said in caplog.text
    assert parents(definitions, REPORT) == {AssetKey(["shared", "marts", "custmers"])}


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ({"shared_mart": "shared/marts"}, "shared_mart: the project has no such source. Is it"),
        ({"shared_marts": "sharde/marts"}, "there is no tenant sharde. Name one of those that"),
    ],
)
def test_what_is_wrong_in_its_own_file_fails_the_reader_alone(
    env: dict[str, str], call_apollo: RunApollo, reads: Mapping[str, str], said: str
) -> None:
    with declaring(env, "reader", reads):
        ended = call_apollo(["prepare"], env)
        definitions = loaded(env)
    assert (ended.returncode, said in ended.stderr) == (2, True)
    graph = definitions.get_repository_def().asset_graph
    assert said in str(graph.get(AssetKey(["reader", "failed_to_load"])).description)
    assert MART in graph.get_all_asset_keys()


def test_tenants_that_read_each_other_load_without_these_entries(
    env: dict[str, str], call_apollo: RunApollo, caplog: pytest.LogCaptureFixture
) -> None:
    with declaring(env, "dbt_shared", {"no_source_at_all": "reader"}):
        ended = call_apollo(["prepare", "reader"], env)
        with caplog.at_level(logging.ERROR):
            definitions = loaded(env)
    assert ended.returncode == 2
    assert "(reader reads shared reads reader)" in ended.stderr
    assert "(reader reads shared reads reader)" in caplog.text
    assert parents(definitions, REPORT) == {SOURCE}
