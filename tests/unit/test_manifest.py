"""What is said of a project from its manifest alone."""

import json
from typing import Any

import pytest

from dagster_apollo.dbt.manifest import (
    SchemaFinding,
    asset_nodes,
    attach_tests_of_many_parents,
    read_manifest,
    unrouted_nodes,
)
from dagster_apollo.errors import PrepareError

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


# --- tests of several nodes ------------------------------------------------------------------


def singular(*parents: str, **properties: Any) -> dict[str, Any]:
    properties = {"depends_on": {"nodes": list(parents), "macros": []}, **properties}
    return node("test", "totals_match", **properties)


def attached(*nodes: dict[str, Any]) -> Any:
    """The node that the test among the nodes is attached to, if any."""
    content = manifest(*nodes)
    attach_tests_of_many_parents(content)
    meta = content["nodes"]["test.shop.totals_match"]["config"].get("meta", {})
    return (meta.get("dagster") or {}).get("ref")


A, B = node("model", "a"), node("seed", "b")


def test_a_singular_test_of_several_nodes_is_attached_to_the_first():
    assert attached(A, B, singular("seed.shop.b", "model.shop.a")) == {
        "name": "b",
        "package": "shop",
        "version": None,
    }


def test_the_version_of_the_node_is_kept():
    versioned = node("model", "a", version=2)
    assert attached(versioned, B, singular("model.shop.a", "seed.shop.b"))["version"] == 2


def test_an_ephemeral_model_before_the_first_asset_is_passed_over():
    ephemeral = node("model", "a", config={"materialized": "ephemeral"})
    assert attached(ephemeral, B, singular("model.shop.a", "seed.shop.b"))["name"] == "b"


def test_a_source_before_the_first_node_is_passed_over():
    test = singular("source.shop.raw.x", "model.shop.a")
    assert attached(A, test)["name"] == "a"


@pytest.mark.parametrize(
    "parents", [(), ("model.shop.a",), ("source.shop.raw.x", "source.shop.raw.y")]
)
def test_a_test_of_one_node_or_of_sources_alone_is_left_as_it_is(parents):
    assert attached(A, B, singular(*parents)) is None


def test_a_generic_test_is_left_as_it_is():
    test = singular("model.shop.a", "seed.shop.b", attached_node="model.shop.a")
    assert attached(A, B, test) is None


def test_a_reference_of_the_projects_own_is_kept():
    own = {"meta": {"dagster": {"ref": {"name": "b"}}, "owner": "ann"}}
    assert attached(A, B, singular("model.shop.a", "seed.shop.b", config=own)) == {"name": "b"}


def test_other_meta_of_the_test_is_kept():
    test = singular("model.shop.a", "seed.shop.b", config={"meta": {"owner": "ann"}})
    attach_tests_of_many_parents(manifest(A, B, test))
    assert test["config"]["meta"]["owner"] == "ann"


def test_attaching_twice_changes_nothing_more():
    content = manifest(A, B, singular("seed.shop.b", "model.shop.a"))
    attach_tests_of_many_parents(content)
    once = json.dumps(content)
    attach_tests_of_many_parents(content)
    assert json.dumps(content) == once
