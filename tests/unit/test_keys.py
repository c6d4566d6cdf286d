"""The names that nodes and tests have in Dagster: what will do stays, the rest is mended."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from dagster import AssetKey
from dagster_dbt.asset_utils import default_asset_key_fn

from dagster_apollo.dbt.keys import settle_names
from dagster_apollo.names import default_path, identifier, legible

pytestmark = pytest.mark.unit

Node = dict[str, Any]


def node(kind: str, name: str, *parents: str, package: str = "shop", **properties: Any) -> Node:
    """A node as dbt writes it, less what nobody here reads."""
    return {
        "resource_type": kind,
        "unique_id": f"{kind}.{package}.{name}",
        "name": name,
        "alias": name,
        "package_name": package,
        "relation_name": f'"db"."main"."{package}_{kind}_{name}"',
        "depends_on": {"nodes": list(parents)},
        **properties,
        "config": {"schema": None, **properties.get("config", {})},
    }


def source(schema: str, name: str, **properties: Any) -> Node:
    made = node("source", name, source_name=schema, **properties)
    return {**made, "unique_id": f"source.shop.{schema}.{name}"}


def settled(*nodes: Node) -> Mapping[str, Node]:
    """The nodes with the names that they have in Dagster."""
    manifest: dict[str, Any] = {
        "metadata": {"project_name": "shop"},
        "nodes": {it["unique_id"]: it for it in nodes if it["resource_type"] != "source"},
        "sources": {it["unique_id"]: it for it in nodes if it["resource_type"] == "source"},
    }
    settle_names(manifest)
    once = copy.deepcopy(manifest)
    settle_names(manifest)
    assert manifest == once  # the names are the same each time
    return {**manifest["nodes"], **manifest["sources"]}


def paths(*nodes: Node) -> dict[str, tuple[str, ...]]:
    return {
        key: default_path(it)
        for key, it in settled(*nodes).items()
        if it["resource_type"] not in {"test", "operation"}
    }


# --- keys ------------------------------------------------------------------------------------

PLAIN = [
    node("model", "orders"),
    node("model", "my-orders.v2", config={"schema": "marts"}),
    node("seed", "orders", config={"schema": ""}),
    node("model", "gadgets", version=2, alias="gadgets_v2", config={"schema": "marts"}),
    node("snapshot", "history", config={"meta": {"dagster": {"asset_key": ["a", "b"]}}}),
    node("model", "text", meta={"dagster": {"asset_key": "a_text"}}),
    source("raw", "orders"),
]


@pytest.mark.parametrize("it", PLAIN, ids=lambda it: it["unique_id"])
def test_a_key_without_trouble_is_dagster_dbts(it: Node) -> None:
    assert default_path(it) == tuple(default_asset_key_fn(it).path)
    assert paths(copy.deepcopy(it))[it["unique_id"]] == tuple(default_asset_key_fn(it).path)


@pytest.mark.parametrize("path", [("a-b", "c.d"), ("a", "b_c"), ("one",)])
def test_identifiers_are_dagsters(path: tuple[str, ...]) -> None:
    assert identifier(path) == AssetKey(path).to_python_identifier()


def test_of_two_nodes_with_one_key_the_projects_own_keeps_it() -> None:
    found = paths(node("model", "orders", package="annexe"), node("model", "orders"))
    assert found == {
        "model.shop.orders": ("orders",),
        "model.annexe.orders": ("orders", "model.annexe.orders"),
    }


def test_a_source_leaves_its_key_to_a_node() -> None:
    found = paths(source("raw", "orders"), node("model", "orders", config={"schema": "raw"}))
    assert found == {
        "model.shop.orders": ("raw", "orders"),
        "source.shop.raw.orders": ("raw", "orders", "source.shop.raw.orders"),
    }


def test_keys_that_make_one_identifier_are_told_apart() -> None:
    found = paths(node("model", "my-orders"), node("model", "my_orders"))
    assert found == {
        "model.shop.my-orders": ("my-orders",),
        "model.shop.my_orders": ("my_orders", "model.shop.my_orders"),
    }


def test_of_a_source_only_the_key_itself_counts() -> None:
    found = paths(
        node("model", "shopify__orders"),
        source("shopify", "orders"),
        source("my-raw", "orders"),
        source("my_raw", "orders"),
    )
    assert found == {
        "model.shop.shopify__orders": ("shopify__orders",),
        "source.shop.shopify.orders": ("shopify", "orders"),
        "source.shop.my-raw.orders": ("my-raw", "orders"),
        "source.shop.my_raw.orders": ("my_raw", "orders"),
    }


def test_a_key_that_was_told_apart_is_nobody_elses_either() -> None:
    taken = {"dagster": {"asset_key": ["orders", "model.shop.orders"]}}
    found = paths(
        node("model", "a", config={"meta": {"dagster": {"asset_key": "orders"}}}),
        node("model", "b", config={"meta": taken}),
        node("model", "orders"),
    )
    assert found == {
        "model.shop.a": ("orders",),
        "model.shop.b": ("orders", "model.shop.orders"),
        "model.shop.orders": ("orders", "model.shop.orders", "model.shop.orders"),
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("été à la plage", "ete_a_la_plage"),
        ("it's", "it_s"),
        ('"quoted"', "_quoted_"),
        ("a/b", "a_b"),
        ("x" * 400, "x" * 400),
    ],
)
def test_a_name_that_dagster_refuses_is_spelled_in_ascii(name: str, shown: str) -> None:
    assert paths(node("model", name)) == {f"model.shop.{name}": (shown,)}
    assert identifier((shown,)).isidentifier() or shown == "a_b"


def test_names_of_which_nothing_is_legible_differ() -> None:
    found = paths(node("model", "売上"), node("model", "費用"))
    assert len(set(found.values())) == 2
    assert all(identifier(path).isidentifier() for path in found.values())


def test_a_source_that_is_the_projects_own_seed_is_that_seed() -> None:
    place = {"relation_name": '"DB"."raw"."orders"'}
    seed = node("seed", "orders", **place)
    reader = node("model", "stg_orders", "source.shop.raw.orders")
    test = node("test", "not_null", "source.shop.raw.orders")
    found = settled(seed, reader, test, source("raw", "orders", relation_name="db.raw.orders"))
    assert found["model.shop.stg_orders"]["depends_on"]["nodes"] == ["seed.shop.orders"]
    assert found["test.shop.not_null"]["attached_node"] == "seed.shop.orders"
    assert default_path(found["source.shop.raw.orders"]) == ("orders",)


def test_a_source_that_a_node_reads_and_writes_stays_a_source() -> None:
    model = node("model", "orders", "source.shop.raw.orders", relation_name="db.raw.orders")
    found = settled(model, source("raw", "orders", relation_name="db.raw.orders"))
    assert found["model.shop.orders"]["depends_on"]["nodes"] == ["source.shop.raw.orders"]
    assert default_path(found["source.shop.raw.orders"]) == ("raw", "orders")


def test_sources_that_are_each_others_nodes_tables_close_no_cycle() -> None:
    made = settled(
        node("model", "a", "source.shop.raw.b", relation_name="db.raw.a"),
        node("model", "b", "model.shop.between", relation_name="db.raw.b"),
        node("model", "between", "source.shop.raw.a", config={"materialized": "ephemeral"}),
        source("raw", "a", relation_name="db.raw.a"),
        source("raw", "b", relation_name="db.raw.b"),
    )
    assert made["model.shop.between"]["depends_on"]["nodes"] == ["model.shop.a"]
    assert made["model.shop.a"]["depends_on"]["nodes"] == ["source.shop.raw.b"]
    assert default_path(made["source.shop.raw.a"]) == ("a",)
    assert default_path(made["source.shop.raw.b"]) == ("raw", "b")


def test_parents_that_do_not_exist_are_forgotten() -> None:
    found = settled(node("model", "a", "model.shop.gone"), node("test", "t", "model.shop.gone"))
    assert found["model.shop.a"]["depends_on"]["nodes"] == []
    assert found["test.shop.t"]["attached_node"] is None


@pytest.mark.parametrize(
    "settings",
    [
        ["not", "a", "mapping"],
        {"asset_key": 7},
        {"asset_key": ["a", None]},
        {"asset_key": {}},
        {"group": ["a"], "owners": 1, "auto_materialize_policy": "eager", "ref": "x"},
    ],
)
@pytest.mark.parametrize("place", ["meta", "config"])
def test_settings_that_another_dagster_may_take_are_left_out(settings: Any, place: str) -> None:
    meta = {"dagster": settings, "owner": "ann"}
    it = node("model", "a", **({"meta": meta} if place == "meta" else {"config": {"meta": meta}}))
    found = settled(it)["model.shop.a"]
    left = found["meta"] if place == "meta" else found["config"]["meta"]
    assert left == {"dagster": {}, "owner": "ann"}
    assert default_path(found) == ("a",)


def test_one_owner_is_a_list_of_one() -> None:
    found = settled(node("model", "a", meta={"dagster": {"owners": "team:data"}}))
    assert found["model.shop.a"]["meta"]["dagster"]["owners"] == ["team:data"]


# --- checks ----------------------------------------------------------------------------------

A, B = node("model", "a"), node("seed", "b")
EPHEMERAL = node("model", "between", "seed.shop.b", config={"materialized": "ephemeral"})


def attached(test: Node, *nodes: Node) -> str | None:
    found: str | None = settled(*copy.deepcopy(nodes), test)[test["unique_id"]]["attached_node"]
    return found


def test_a_test_of_several_nodes_is_on_the_first() -> None:
    assert attached(node("test", "t", "seed.shop.b", "model.shop.a"), A, B) == "seed.shop.b"


def test_a_source_before_the_first_node_is_passed_over() -> None:
    test = node("test", "t", "source.shop.raw.x", "model.shop.a")
    assert attached(test, A, source("raw", "x")) == "model.shop.a"


def test_a_test_of_an_ephemeral_model_is_on_what_that_is_made_from() -> None:
    test = node("test", "t", "model.shop.between", attached_node="model.shop.between")
    assert attached(test, A, B, EPHEMERAL) == "seed.shop.b"


def test_a_generic_test_stays_where_dbt_attached_it() -> None:
    test = node("test", "t", "seed.shop.b", "model.shop.a", attached_node="model.shop.a")
    assert attached(test, A, B) == "model.shop.a"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ({"name": "a"}, "model.shop.a"),
        ({"name": "a", "package": "shop"}, "model.shop.a"),
        ({"name": "a", "version": 2}, "seed.shop.b"),
        ({"name": "no_such_model"}, "seed.shop.b"),
        ({}, "seed.shop.b"),
    ],
)
def test_a_reference_of_the_projects_own_decides_where_it_names_a_parent(
    ref: Node, expected: str
) -> None:
    meta = {"dagster": {"ref": ref}, "owner": "ann"}
    test = node("test", "t", "seed.shop.b", "model.shop.a", config={"meta": meta})
    found = settled(copy.deepcopy(A), copy.deepcopy(B), test)["test.shop.t"]
    assert found["attached_node"] == expected
    assert found["config"]["meta"]["owner"] == "ann"


@pytest.mark.parametrize("parents", [(), ("metric.shop.m",)])
def test_a_test_of_nothing_is_a_check_on_nothing(parents: tuple[str, ...]) -> None:
    assert attached(node("test", "t", *parents), A) is None


def test_names_of_checks_are_mended_where_dagster_refuses_them() -> None:
    odd = [node("test", name, "model.shop.a") for name in ("is fine", "is_fine", "order-id", "x.y")]
    found = settled(copy.deepcopy(A), *odd)
    names = {key: it["name"] for key, it in found.items() if it["resource_type"] == "test"}
    assert names.pop("test.shop.is fine").startswith("is_fine_")
    assert names == {
        "test.shop.is_fine": "is_fine",
        "test.shop.order-id": "order_id",
        "test.shop.x.y": "x.y",
    }


def test_equal_names_on_one_asset_are_told_apart() -> None:
    tests = [node("test", "t", "model.shop.a", package=package) for package in ("shop", "annexe")]
    found = settled(copy.deepcopy(A), *tests)
    names = {it["name"] for it in found.values() if it["resource_type"] == "test"}
    assert len(names) == 2
    assert "t" in names


def test_legible_leaves_what_is_legible() -> None:
    assert legible("plain_Name1") == "plain_Name1"
    assert legible("a-b.c", allowed=".-") == "a-b.c"
    assert legible("a-b.c") == "a_b_c"
