"""deploy/render-tenants.yaml is render.yaml, but for its code servers: each tenant has one."""

import copy
from typing import Any

import pytest
import yaml

from dagster_apollo.paths import CHECKOUT
from tests.rehearsal.blueprint import Address, Answers, Blueprint, load

pytestmark = pytest.mark.unit

WEB, DAEMON, CODE = "dagster-webserver", "dagster-daemon", "dagster-code"
TENANTS = ("williamgrant", "acme")
SERVERS = {tenant: f"{CODE}-{tenant}" for tenant in TENANTS}
FILE = CHECKOUT / "deploy" / "render-tenants.yaml"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CHECKOUT / name).read_text())
    return content


def named(content: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    return {it["name"]: it for it in content[part]}


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    return load(FILE)


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """With one code server for all tenants: the file that is deployed unless somebody says so."""
    return read("render.yaml")


@pytest.fixture(scope="module")
def several() -> dict[str, Any]:
    return read("deploy/render-tenants.yaml")


def test_the_database_and_the_common_group_are_the_same(
    one: dict[str, Any], several: dict[str, Any]
) -> None:
    assert several["databases"] == one["databases"]
    assert named(several, "envVarGroups")["apollo"] == named(one, "envVarGroups")["apollo"]


@pytest.mark.parametrize("name", [WEB, DAEMON])
def test_web_and_daemon_differ_in_nothing_but_the_code_servers_that_they_know(
    name: str, one: dict[str, Any], several: dict[str, Any]
) -> None:
    expected = copy.deepcopy(named(one, "services")[name])
    place = [it.get("key") for it in expected["envVars"]].index("APOLLO_CODE_SERVER")
    expected["envVars"][place : place + 1] = [
        {
            "key": f"APOLLO_CODE_SERVER_{tenant.upper()}",
            "fromService": {"type": "pserv", "name": server, "property": "hostport"},
        }
        for tenant, server in SERVERS.items()
    ]

    assert named(several, "services")[name] == expected


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_tenant_s_code_server_is_the_one_of_all_tenants_with_a_group_of_its_own(
    tenant: str, one: dict[str, Any], several: dict[str, Any]
) -> None:
    expected = copy.deepcopy(named(one, "services")[CODE])
    expected["name"] = SERVERS[tenant]
    expected["envVars"].insert(1, {"fromGroup": f"tenant-{tenant}"})

    assert named(several, "services")[SERVERS[tenant]] == expected


def test_there_is_nothing_else(several: dict[str, Any]) -> None:
    assert named(several, "services").keys() == {WEB, DAEMON, *SERVERS.values()}
    assert named(several, "envVarGroups").keys() == {"apollo", *(f"tenant-{it}" for it in TENANTS)}


def test_each_server_serves_its_own_tenant_and_no_other_service_gets_its_variables(
    blueprint: Blueprint,
) -> None:
    answers = Answers(
        {"dagster-postgres": "postgresql://it"},
        {name: Address(name, 4000) for name in (WEB, *SERVERS.values())},
        {key: "given" for server in SERVERS.values() for key in blueprint.keys(server)},
        lambda _owner, key: key,
    )
    variables = {name: blueprint.variables(name, answers) for name in blueprint.services}

    served = {name: it.get("APOLLO_TENANTS") for name, it in variables.items()}
    own = {server: tenant for tenant, server in SERVERS.items()}
    assert served == {WEB: None, DAEMON: None, **own}
    for name in blueprint.services:
        secret = {key for key in variables[name] if "SNOWFLAKE" in key}
        assert len(secret) == (6 if name in own else 0)
        assert {blueprint.kind(name, key) for key in secret} <= {"sync"}
    for tenant, server in SERVERS.items():
        address = f"{server}:{variables[server]['PORT']}"
        for name in (WEB, DAEMON):
            assert variables[name][f"APOLLO_CODE_SERVER_{tenant.upper()}"] == address


def test_no_group_holds_a_secret(blueprint: Blueprint) -> None:
    entries = [entry for group in blueprint.groups.values() for entry in group]

    assert {kind for entry in entries for kind in entry} == {"key", "value"}
    assert not [it for it in entries if "SNOWFLAKE" in it["key"]]
