"""What `reads:` of apollo.yml comes to, and what is said of an entry that cannot be right."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagster_apollo.dbt.asset_specs import upstream_first
from dagster_apollo.dbt.lineage import assets_read, unknown_assets
from dagster_apollo.errors import TenantError
from dagster_apollo.lineage import DeclaredReads, declared_reads
from dagster_apollo.tenants import Tenant, find_folders, load_or_fault, load_tenant
from tests.unit.conftest import MakeTenants

pytestmark = pytest.mark.unit

MANIFEST: Mapping[str, Any] = {
    "nodes": {},
    "sources": {
        f"source.x.{name}.{table}": {
            "resource_type": "source",
            "source_name": name,
            "name": table,
            "config": {},
        }
        for name, table in (("marts", "customers"), ("marts", "orders"), ("crm", "accounts"))
    },
}


@pytest.fixture
def declared(make_tenants: MakeTenants) -> Any:
    """Declare reads by tenant: `declared(acme={"marts": "shared/marts"})`; those of acme."""

    def declare(**reads: Mapping[str, str]) -> DeclaredReads:
        root = make_tenants(
            {f"dbt_{name}": {} for name in ("acme", "shared", "zenith")},
            apollo={f"dbt_{name}": yaml.safe_dump({"reads": it}) for name, it in reads.items()},
        )
        return declared_reads(load_tenant(root / "dbt_acme"), find_folders(root), load_or_fault)

    return declare


@pytest.fixture
def acme(make_tenants: MakeTenants) -> Tenant:
    return load_tenant(make_tenants() / "dbt_acme")


# --- tenants ---------------------------------------------------------------------------------


def test_an_entry_is_the_key_that_the_ui_shows(declared: Any) -> None:
    entries = {"marts": "shared/marts", "crm.accounts": "zenith/dim_accounts"}
    assert declared(acme=entries) == DeclaredReads(
        {"marts": ("shared", "marts"), "crm.accounts": ("zenith", "dim_accounts")}
    )


def test_a_tenant_that_does_not_exist_is_named_and_no_other(declared: Any) -> None:
    said = r"apollo\.yml: reads: marts: .*sharde\. Name one"
    with pytest.raises(TenantError, match=said) as raised:
        declared(acme={"marts": "sharde/marts"})
    assert not [it for it in ("shared", "zenith") if it in str(raised.value)]


def test_a_tenant_does_not_read_itself(declared: Any) -> None:
    with pytest.raises(TenantError, match=r"apollo\.yml: reads: marts: acme/marts is the tenant's"):
        declared(acme={"marts": "acme/marts"})


@pytest.mark.parametrize("value", ["", "shared/", "/marts", "shared//marts", "a b/c", 7, ["a"]])
def test_what_is_no_key_is_refused_by_its_entry(declared: Any, value: object) -> None:
    with pytest.raises(TenantError, match=r"reads\.marts: "):
        declared(acme={"marts": value})


def test_entries_by_which_tenants_read_each_other_are_left_out(declared: Any) -> None:
    found = declared(
        acme={"a": "shared/a", "b": "zenith/b"}, shared={"c": "zenith/c"}, zenith={"d": "acme/d"}
    )
    assert found.entries == {}
    assert len(found.refused) == 2
    assert "(acme reads shared reads zenith reads acme)" in found.refused[0]
    assert "(acme reads zenith reads acme)" in found.refused[1]


def test_a_circle_of_others_is_no_matter_of_this_tenant(declared: Any) -> None:
    found = declared(acme={"a": "shared/a"}, shared={"c": "zenith/c"}, zenith={"d": "shared/d"})
    assert found == DeclaredReads({"a": ("shared", "a")})


# --- sources and assets ----------------------------------------------------------------------


def test_a_table_wins_over_its_source(acme: Tenant) -> None:
    entries = {"marts.orders": ("zenith", "o"), "marts": ("shared", "marts")}
    assert assets_read(acme, entries, MANIFEST) == {
        "source.x.marts.customers": ("shared", "marts", "customers"),
        "source.x.marts.orders": ("zenith", "o"),
    }


def test_a_source_that_is_the_projects_own_table_is_its_node(acme: Tenant) -> None:
    manifest = copy.deepcopy(dict(MANIFEST))
    manifest["nodes"]["seed.x.orders"] = {"resource_type": "seed", "name": "orders", "config": {}}
    orders = manifest["sources"]["source.x.marts.orders"]
    orders["config"] = {"meta": {"dagster": {"asset_key": ["orders"]}}}  # as settle_names has it
    for entries in (
        {"marts": ("shared",)},
        {"marts.orders": ("shared", "orders"), "marts": ("shared",)},
    ):
        found = assets_read(acme, entries, manifest)
        assert found == {"source.x.marts.customers": ("shared", "customers")}


@pytest.mark.parametrize(
    ("entry", "near"),
    [
        ("marts.custmers", "Is it marts.customers"),
        ("mart", "Is it marts"),
        ("zzz", "Its sources are: crm, crm.accounts, marts, marts.customers, marts.orders"),
    ],
)
def test_a_source_that_does_not_exist_is_named(acme: Tenant, entry: str, near: str) -> None:
    with pytest.raises(TenantError, match=rf"apollo\.yml: reads: {entry}: .*{near}"):
        assets_read(acme, {entry: ("shared", "marts")}, MANIFEST)


def test_a_table_is_an_asset_and_no_tenant(acme: Tenant) -> None:
    with pytest.raises(TenantError, match="shared is a tenant"):
        assets_read(acme, {"crm.accounts": ("shared",)}, MANIFEST)


def test_only_what_is_known_not_to_exist_is_a_finding(acme: Tenant) -> None:
    read = {
        "source.x.marts.customers": ("shared", "marts", "custmers"),
        "source.x.marts.orders": ("shared", "marts", "orders"),
        "source.x.crm.accounts": ("elsewhere", "accounts"),
    }
    made = {"shared": {("shared", "marts", "customers"), ("shared", "marts", "orders")}}
    [finding] = unknown_assets(acme, read, MANIFEST, made)
    assert "reads: marts.customers: there is no asset shared/marts/custmers." in finding
    assert "Is it shared/marts/customers" in finding


# --- the order of specs ----------------------------------------------------------------------


def test_each_node_comes_after_what_it_reads_however_deep_the_chain() -> None:
    chain = {str(it): [str(it - 1)] if it else [] for it in range(5_000)}
    made: list[str] = []
    for it in upstream_first("4999", chain.__getitem__, made):
        made.append(it)  # noqa: PERF402
    assert made == list(chain)


def test_a_node_that_two_read_comes_once() -> None:
    graph = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}
    made: dict[str, Path | None] = {}
    for it in upstream_first("d", graph.__getitem__, made):
        assert it not in made
        assert made.keys() >= set(graph[it])
        made[it] = None
    assert len(made) == 4
