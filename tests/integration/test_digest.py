"""Definitions made from the digest of a manifest, beside those made from all of it.

The project is the largest there is here, with sources, seeds, snapshots, exposures, unit tests,
versions, groups and singular tests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetsDefinition, AssetSpec, Definitions
from dagster._core.definitions.repository_definition import RepositoryDefinition

from dagster_apollo.dbt.asset_specs import KNOWN
from dagster_apollo.dbt.assets import TenantProject
from dagster_apollo.dbt.code_location import load_project, tenant_code_location
from dagster_apollo.dbt.keys import settle_names
from dagster_apollo.dbt.manifest import asset_nodes, read_manifest
from dagster_apollo.dbt.prepare import digest_path, manifest_path
from dagster_apollo.dbt.resource import RunObserver
from dagster_apollo.dbt.stock import DagsterDbtTranslator
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.runtime import start
from tests.integration.conftest import CopyTenants, MakeEnvironment

pytestmark = pytest.mark.integration

_OWN = ("dagster_dbt/manifest", "dagster_dbt/dagster_dbt_translator", "dagster_dbt/project")
"""Metadata that is an object of the definitions' own."""


@pytest.fixture(scope="module")
def prepared(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> Iterator[TenantProject]:
    """The tenant, prepared, with the digest of its manifest."""
    env = apollo_env(copy_tenants(dbt_williamgrant=CHECKOUT / "tenants" / "dbt_williamgrant"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PROFILES_DIR", "")
        for name, value in env.items():
            patch.setenv(name, value)
        runtime = start(environ=env)
        yield load_project(runtime, runtime.settings.tenants[0])


@pytest.fixture(scope="module")
def whole(prepared: TenantProject) -> TenantProject:
    """The same, with all of its manifest."""
    manifest = read_manifest(manifest_path(prepared.settings))
    settle_names(manifest)
    return replace(prepared, manifest=manifest, translator=TenantTranslator(prepared.settings))


@dataclass(frozen=True)
class Made:
    """What was made from a manifest."""

    definitions: Definitions
    repository: RepositoryDefinition
    assets: AssetsDefinition


def made(project: TenantProject) -> Made:
    definitions = tenant_code_location(project, RunObserver())
    (assets,) = (it for it in definitions.assets or () if isinstance(it, AssetsDefinition))
    return Made(definitions, definitions.get_repository_def(), assets)


@pytest.fixture(scope="module")
def ours(prepared: TenantProject) -> Made:
    return made(prepared)


@pytest.fixture(scope="module")
def theirs(whole: TenantProject) -> Made:
    return made(whole)


def said(spec: AssetSpec) -> dict[str, Any]:
    """All that a spec says, in an order of its own."""
    fields: dict[str, Any] = {**spec._asdict()}
    fields["metadata"] = {k: v for k, v in spec.metadata.items() if k not in _OWN}
    fields["deps"] = sorted(spec.deps, key=lambda dep: dep.asset_key)
    return fields


def test_each_asset_says_the_same(ours: Made, theirs: Made) -> None:
    mine = {spec.key: said(spec) for spec in ours.assets.specs}
    expected = {spec.key: said(spec) for spec in theirs.assets.specs}
    assert len(expected) > 50
    assert mine == expected
    assert any(fields["metadata"]["dagster/column_schema"] for fields in mine.values())
    assert any(fields["owners"] for fields in mine.values())


def test_each_check_says_the_same(ours: Made, theirs: Made) -> None:
    mine = {spec.key: {**spec._asdict()} for spec in ours.assets.check_specs}
    expected = {spec.key: {**spec._asdict()} for spec in theirs.assets.check_specs}
    for fields in (*mine.values(), *expected.values()):
        fields["additional_deps"] = sorted(fields["additional_deps"], key=lambda dep: dep.asset_key)
    assert len(expected) > 100
    assert mine == expected


def test_the_op_has_the_same_inputs_and_outputs(ours: Made, theirs: Made) -> None:
    def shape(made: Made) -> tuple[Any, ...]:
        op = made.assets.op
        return (
            {name: (it.dagster_type.key, it.metadata) for name, it in op.input_dict.items()},
            {
                name: (it.dagster_type.key, it.description, it.is_required, it.io_manager_key)
                for name, it in op.output_dict.items()
            },
            op.tags,
            op.pool,
            op.required_resource_keys,
        )

    assert shape(ours) == shape(theirs)


def test_the_jobs_hold_the_same(ours: Made, theirs: Made) -> None:
    def jobs(made: Made) -> Mapping[str, Any]:
        return {
            job.name: (
                job.asset_layer.selected_asset_keys,
                job.asset_layer.asset_graph.asset_check_keys,
                job.run_tags,
                job.description,
            )
            for job in made.repository.get_all_jobs()
        }

    assert len(jobs(theirs)) > 3
    assert jobs(ours) == jobs(theirs)


def test_the_digest_is_a_fraction_of_the_manifest(prepared: TenantProject) -> None:
    digest, manifest = (
        Path(path(prepared.settings)).stat().st_size for path in (digest_path, manifest_path)
    )
    assert digest < manifest / 3


def test_a_spec_made_in_one_step_says_what_dagster_dbt_says_in_five(whole: TenantProject) -> None:
    class Stock(TenantTranslator):
        def get_asset_spec(self, *arguments: Any) -> AssetSpec:
            return DagsterDbtTranslator.get_asset_spec(self, *arguments)

    stock = Stock(whole.settings)
    nodes = [*asset_nodes(whole.manifest), *whole.manifest["sources"].values()]
    assert KNOWN
    assert {node["resource_type"] for node in nodes} == {"model", "seed", "snapshot", "source"}
    for node in nodes:
        arguments = (whole.manifest, node["unique_id"], whole.project)
        mine, expected = (said(it.get_asset_spec(*arguments)) for it in (whole.translator, stock))
        kinds = {tag for tag in mine["tags"] if tag not in expected["tags"]}
        assert len(kinds) <= 1
        mine["tags"] = {tag: it for tag, it in mine["tags"].items() if tag not in kinds}
        assert mine == expected


def test_the_graph_is_the_manifests(prepared: TenantProject, whole: TenantProject) -> None:
    def graph(manifest: Mapping[str, Any], name: str) -> dict[str, set[str]]:
        nodes = manifest["nodes"]
        return {key: set(found) for key, found in manifest[name].items() if key in nodes and found}

    for name in ("parent_map", "child_map"):
        assert graph(prepared.manifest, name) == graph(whole.manifest, name)
