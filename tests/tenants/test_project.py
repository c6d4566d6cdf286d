"""What the tenant promises, read from its manifest: coverage, documentation, contracts, owners."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest
import yaml

from tests.tenants.support import PACKAGE, TENANT, Project, succeeded

pytestmark = pytest.mark.integration

OWN = "dbt_williamgrant"
Node = dict[str, Any]


def nodes(manifest: dict[str, Any], *kinds: str) -> list[Node]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["package_name"] == OWN and node["resource_type"] in kinds
    ]


def names(found: list[Node]) -> list[str]:
    return sorted(node["name"] for node in found)


def test_the_project_is_as_large_as_it_should_be(manifest: dict[str, Any]) -> None:
    models, tests = nodes(manifest, "model"), nodes(manifest, "test")
    folders = [node["original_file_path"].split("/")[1] for node in models]
    assert len(manifest["sources"]) >= 10
    assert len(nodes(manifest, "seed")) >= 4
    assert len(models) >= 40
    assert {"staging", "intermediate", "marts"} == set(folders)
    assert folders.count("marts") >= 20
    assert len([node for node in models if node["config"]["materialized"] == "incremental"]) >= 2
    assert len(nodes(manifest, "snapshot")) >= 2
    assert len(tests) >= 60
    assert len([node for node in tests if "test_metadata" not in node]) >= 5
    assert len(manifest["unit_tests"]) >= 6
    assert len(manifest["exposures"]) >= 3
    assert len(manifest["groups"]) >= 3


def test_every_model_and_every_column_is_described(
    built: Project, manifest: dict[str, Any]
) -> None:
    actual: dict[str, set[str]] = defaultdict(set)
    for relation, column in built.query(
        "select table_schema || '.' || table_name, column_name from information_schema.columns"
    ):
        actual[relation].add(column)
    described = nodes(manifest, "model", "seed", "snapshot")
    assert len(described) > 50
    for node in described:
        assert node["description"].strip(), node["name"]
        assert set(node["columns"]) == actual[f"{node['schema']}.{node['alias']}"], node["name"]
    for node in [*described, *manifest["sources"].values()]:
        columns = node["columns"].values()
        assert node["description"].strip(), node["name"]
        assert [item["name"] for item in columns if not item["description"].strip()] == []


def test_every_column_of_the_raw_data_is_a_column_of_its_source(manifest: dict[str, Any]) -> None:
    for source in manifest["sources"].values():
        header = (TENANT / "data" / f"{source['name']}.csv").read_text().split("\n", 1)[0]
        assert list(source["columns"]) == header.split(","), source["name"]


def test_every_mart_has_an_enforced_contract_with_types(manifest: dict[str, Any]) -> None:
    marts = [node for node in nodes(manifest, "model") if node["schema"] == "marts"]
    assert names([node for node in marts if not node["contract"]["enforced"]]) == []
    for node in marts:
        assert all(column["data_type"] for column in node["columns"].values()), node["name"]


def test_every_mart_has_a_group_and_every_group_an_owner(manifest: dict[str, Any]) -> None:
    marts = [node for node in nodes(manifest, "model") if node["schema"] == "marts"]
    assert names([node for node in marts if not node["config"]["group"]]) == []
    emails = [group["owner"]["email"] for group in manifest["groups"].values()]
    emails += [exposure["owner"]["email"] for exposure in manifest["exposures"].values()]
    assert [email for email in emails if not email.endswith("@williamgrant.example")] == []


def test_the_scorecard_has_two_versions_and_the_second_is_the_latest(
    manifest: dict[str, Any],
) -> None:
    cards = [node for node in nodes(manifest, "model") if node["version"] is not None]
    assert {(node["name"], node["version"], node["latest_version"]) for node in cards} == {
        ("mart_distributor_scorecard", 1, 2),
        ("mart_distributor_scorecard", 2, 2),
    }


def test_every_source_of_events_has_freshness_and_every_reader_is_a_staging_model(
    manifest: dict[str, Any],
) -> None:
    for source in manifest["sources"].values():
        stamped = {"loaded_at", "updated_at"} & set(source["columns"])
        assert bool(source["loaded_at_field"]) == bool(stamped), source["name"]
        readers = manifest["child_map"][source["unique_id"]]
        assert readers == [f"model.{OWN}.stg_{source['name']}"]


def test_freshness_is_strict_in_production_alone(
    manifest: dict[str, Any], prod_manifest: dict[str, Any]
) -> None:
    key = f"source.{OWN}.raw.shipments"
    prod, local = (found["sources"][key]["freshness"] for found in (prod_manifest, manifest))
    assert prod["warn_after"] == {"count": 36, "period": "hour"}
    assert prod["error_after"] == {"count": 72, "period": "hour"}
    assert local["error_after"]["count"] > 50 * 365 * 24


def test_nothing_is_deprecated_or_warned_of(project: Project) -> None:
    succeeded(
        project.dbt(
            "--warn-error", "parse", "--no-partial-parse", "--show-all-deprecations", name="strict"
        )
    )


def test_packages_come_from_the_repository_alone() -> None:
    for file in ("packages.yml", "package-lock.yml"):
        listed = yaml.safe_load((TENANT / file).read_text())["packages"]
        assert [package["local"] for package in listed] == ["../../dbt/apollo"], file
    assert not (TENANT / "profiles.yml").exists()


def test_results_do_not_depend_on_the_clock() -> None:
    clocks = re.compile(r"current_date|current_timestamp|getdate|sysdate|\bnow\(", re.IGNORECASE)
    files = [*TENANT.glob("models/**/*.sql"), *TENANT.glob("tests/*.sql"), *PACKAGE.rglob("*.sql")]
    assert len(files) > 60
    assert [file.name for file in files if clocks.search(file.read_text())] == []


def test_the_data_says_that_it_is_synthetic(manifest: dict[str, Any]) -> None:
    assert "synthetic" in (TENANT / "README.md").read_text()
    assert "synthetic" in manifest["docs"][f"doc.{OWN}.__overview__"]["block_contents"]
