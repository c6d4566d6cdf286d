"""What is said of a project from its manifest alone."""

import json
from typing import Any

import pytest

from dagster_apollo.dbt.manifest import (
    SchemaFinding,
    asset_nodes,
    read_manifest,
    unrouted_nodes,
)
from dagster_apollo.dbt.schema_routing import schema_lines, unrouted_message
from dagster_apollo.errors import PrepareError
from dagster_apollo.settings import load

pytestmark = pytest.mark.unit


def node(kind: str = "model", name: str = "orders", **properties: Any) -> dict[str, Any]:
    """A node as dbt writes it, as far as Apollo reads it."""
    config = {"materialized": "table", "schema": "marts", **properties.pop("config", {})}
    return {
        "unique_id": f"{kind}.shop.{name}",
        "resource_type": kind,
        "name": name,
        "package_name": "shop",
        "original_file_path": f"models/{name}.sql",
        "schema": "marts",
        **properties,
        "config": config,
    }


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {item["unique_id"]: item for item in nodes}, "sources": {}}


# --- reading ---------------------------------------------------------------------------------


def test_a_manifest_is_read(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest(node())))
    assert read_manifest(path) == manifest(node())


def test_a_missing_manifest_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(PrepareError, match=r"no .*/manifest\.json\. Run `apollo prepare`"):
        read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize("content", [b"", b'{"nodes": {', b"\xff", b"not json"])
def test_a_damaged_manifest_is_an_error_that_says_how_to_make_a_new_one(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(PrepareError, match=r"manifest\.json is damaged.*prepare --force"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b'"nodes"'])
def test_json_that_is_no_manifest_is_an_error(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(PrepareError, match=r"not a dbt manifest.*prepare --force"):
        read_manifest(path)


# --- assets ----------------------------------------------------------------------------------


def test_assets_are_models_seeds_and_snapshots_but_not_ephemeral_models():
    nodes = [
        node("model", "a"),
        node("seed", "b", config={"materialized": "seed"}),
        node("snapshot", "c", config={"materialized": "snapshot"}),
        node("model", "d", config={"materialized": "ephemeral"}),
        *(node(kind, "e", config={"materialized": kind}) for kind in ("test", "operation")),
    ]
    assert [item["name"] for item in asset_nodes(manifest(*nodes))] == ["a", "b", "c"]


# --- routing (R-015) -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "seed", "snapshot"])
@pytest.mark.parametrize(
    ("config", "schema"),
    [
        ({"schema": None}, ""),  # no config, and the profile's schema is empty
        ({"schema": None}, None),
        ({"schema": None}, "public"),  # the project's macro thought of one
        ({"schema": ""}, "marts"),
        ({"schema": "marts"}, ""),  # the macro ignores the config
        ({"schema": "marts"}, "_marts"),  # dbt's own macro
        ({"schema": None, "target_schema": "history"}, "_history"),
    ],
)
def test_a_node_whose_config_does_not_decide_its_schema_is_found(kind, config, schema):
    found = unrouted_nodes(manifest(node(kind, schema=schema, config=config)))
    assert found == [SchemaFinding(f"{kind}.shop.orders", "models/orders.sql", schema or "")]


@pytest.mark.parametrize(
    ("config", "schema"),
    [
        ({"schema": "marts"}, "marts"),
        ({"schema": "marts"}, "MARTS"),
        ({"schema": "_marts"}, "_marts"),
        ({"schema": None, "target_schema": "history"}, "history"),
    ],
)
def test_a_node_whose_config_decides_its_schema_is_routed(config, schema):
    assert unrouted_nodes(manifest(node(schema=schema, config=config))) == []


def test_tests_and_ephemeral_models_need_no_schema():
    nodes = [
        node("test", schema="", config={"schema": None}),
        node("model", schema="", config={"schema": None, "materialized": "ephemeral"}),
    ]
    assert unrouted_nodes(manifest(*nodes)) == []


def test_a_finding_names_node_file_and_schema():
    finding = SchemaFinding("model.shop.orders", "models/orders.sql", "_marts")
    assert str(finding) == "model.shop.orders (models/orders.sql) resolves to schema '_marts'"
    assert str(SchemaFinding("m", "f", "")).endswith("resolves to no schema")


# --- what is said of nodes without a schema ---------------------------------------------------


def test_the_lines_to_add_are_those_of_the_nodes_that_have_no_schema():
    without = [
        SchemaFinding("model.shop.orders", "models/orders.sql", ""),
        SchemaFinding("model.shop.items", "models/items.sql", ""),
        SchemaFinding("model.package.of.another", "models/another.sql", ""),
        SchemaFinding("seed.shop.raw", "seeds/raw.csv", ""),
        SchemaFinding("snapshot.shop.old", "snapshots/old.sql", "_history"),
    ]
    assert list(schema_lines(without)) == [
        "models: {shop: {+schema: NAME}, package: {+schema: NAME}}",
        "seeds: {shop: {+schema: NAME}}",
    ]
    # dbt's own macro has put something before a schema: no line would help
    assert list(schema_lines(without[-1:])) == []


def test_the_message_of_a_large_project_stays_short_and_names_the_variable(base):
    (settings,) = load(base).tenants
    findings = [SchemaFinding(f"model.shop.m{n}", f"models/m{n}.sql", "") for n in range(3000)]
    text = unrouted_message(settings, findings)
    assert "the schema of 3000 node(s)" in text
    assert "model.shop.m19 (models/m19.sql) resolves to no schema\n  ... and 2,980 more\n" in text
    assert f"Add to {settings.tenant.project_dir / 'dbt_project.yml'}:\n  models: {{shop:" in text
    assert "or set ACME__DBT_SCHEMA (DBT_SCHEMA, if it is the only tenant)" in text
