"""What render.yaml says, and that the reader refuses what Render would refuse or ignore."""

import copy
import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dagster_apollo.contract import KEY_VARIABLES, ProcessEnvironment, TenantEnvironment
from dagster_apollo.paths import CHECKOUT
from tests.rehearsal.blueprint import (
    DEFAULT_SHUTDOWN_SECONDS,
    SOURCE,
    Address,
    Answers,
    Blueprint,
    BlueprintError,
    load,
    parse,
    render_variables,
)

pytestmark = pytest.mark.unit

FILE = CHECKOUT / "render.yaml"
WEB, DAEMON, CODE = "dagster-webserver", "dagster-daemon", "dagster-code"
POSTGRES = "postgresql://dagster:pass@dpg-1.internal:5432/dagster_x"
CONTRACT = {
    name.upper() for name in ProcessEnvironment.model_fields | TenantEnvironment.model_fields
}


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    return load(FILE)


@pytest.fixture(scope="module")
def variables(blueprint: Blueprint) -> Callable[[str], dict[str, str]]:
    answers = Answers(
        databases={"dagster-postgres": POSTGRES},
        addresses={WEB: Address("web", 10_000), CODE: Address(CODE, 4000)},
        given={key: f"given {key}" for key in blueprint.keys(CODE)},
        generate=lambda owner, key: f"generated for {owner}: {key}",
    )
    return lambda name: blueprint.variables(name, answers)


# render.yaml -------------------------------------------------------------------------------------


def test_there_are_three_services_and_one_database(blueprint: Blueprint) -> None:
    assert {it.name: it.type for it in blueprint.services.values()} == {
        WEB: "web",
        DAEMON: "worker",
        CODE: "pserv",
    }
    assert len(blueprint.databases) == 1
    assert len(blueprint.groups) == 1


def test_only_the_code_server_gets_the_warehouse(blueprint: Blueprint) -> None:
    def of_warehouse(name: str) -> set[str]:
        return {key for key in blueprint.keys(name) if "SNOWFLAKE" in key}

    assert of_warehouse(WEB) == of_warehouse(DAEMON) == set()
    assert len(of_warehouse(CODE)) == 6
    assert len(of_warehouse(CODE) & set(KEY_VARIABLES)) == 1
    assert {blueprint.kind(CODE, key) for key in of_warehouse(CODE)} == {"sync"}


def test_only_the_webserver_gets_the_secrets_of_the_sign_in(blueprint: Blueprint) -> None:
    secrets = {"APOLLO_SESSION_SECRET", "APOLLO_ADMIN_PASSWORD"}

    assert {blueprint.kind(WEB, key) for key in secrets} == {"generateValue"}
    assert not secrets & (blueprint.keys(DAEMON) | blueprint.keys(CODE))


def test_the_group_holds_no_secret(blueprint: Blueprint) -> None:
    (group,) = blueprint.groups.values()

    assert {kind for entry in group for kind in entry} == {"key", "value"}


def test_no_literal_looks_like_a_secret(blueprint: Blueprint) -> None:
    literals = {
        key
        for name in blueprint.services
        for key in blueprint.keys(name)
        if blueprint.kind(name, key) == "value"
    }

    assert not [it for it in literals if re.search("SECRET|PASSW|PASSPHRASE|KEY|TOKEN|_URI", it)]


def test_all_services_share_what_must_be_the_same(
    blueprint: Blueprint, variables: Callable[[str], dict[str, str]]
) -> None:
    for key in ("DAGSTER_HOME", "DAGSTER_PG_URI", "DBT_TARGET", "PYTHON_VERSION"):
        assert len({variables(name)[key] for name in blueprint.services}) == 1, key
    assert variables(WEB)["DAGSTER_HOME"] == f"{SOURCE}/.dagster"
    assert variables(WEB)["DBT_TARGET"] == "prod"


def test_web_and_daemon_dial_the_code_server_where_it_listens(
    variables: Callable[[str], dict[str, str]],
) -> None:
    address = f"{CODE}:{variables(CODE)['PORT']}"

    assert variables(WEB)["APOLLO_CODE_SERVER"] == address
    assert variables(DAEMON)["APOLLO_CODE_SERVER"] == address
    assert "APOLLO_CODE_SERVER" not in variables(CODE)


def test_each_process_knows_how_long_it_has_between_sigterm_and_sigkill(
    blueprint: Blueprint, variables: Callable[[str], dict[str, str]]
) -> None:
    for service in blueprint.services.values():
        known = variables(service.name).get("APOLLO_SHUTDOWN_SECONDS", DEFAULT_SHUTDOWN_SECONDS)
        assert int(known) == service.max_shutdown_delay_seconds, service.name
    assert blueprint.services[CODE].max_shutdown_delay_seconds == 300


def test_a_deploy_waits_for_the_checks_of_main_and_migrates(content: dict[str, Any]) -> None:
    for service in content["services"]:
        assert service["autoDeployTrigger"] == "checksPass"
        assert service["branch"] == "main"
        assert service["preDeployCommand"] == "apollo migrate"


def test_the_services_are_always_deployed_together(content: dict[str, Any]) -> None:
    filters = [service["buildFilter"] for service in content["services"]]

    assert filters == filters[:1] * 3
    assert {it["region"] for it in content["services"] + content["databases"]} == {"frankfurt"}


def test_builds_install_pins_and_only_the_code_server_prepares(blueprint: Blueprint) -> None:
    commands = {it.name: it.build_command for it in blueprint.services.values()}

    assert all("--require-hashes -r requirements.txt" in it for it in commands.values())
    assert {name for name, it in commands.items() if "apollo prepare" in it} == {CODE}
    assert commands[CODE].startswith(commands[WEB])
    assert commands[WEB] == commands[DAEMON]


def test_what_is_ignored_by_builds_is_not_needed_by_them(content: dict[str, Any]) -> None:
    ignored = content["services"][0]["buildFilter"]["ignoredPaths"]

    assert {path.split("/")[0] for path in ignored}.isdisjoint(
        {"dagster_apollo", "dbt", "deploy", "tenants", "requirements.txt", "pyproject.toml"}
    )


def test_the_ui_stays_up_when_another_service_is_down(blueprint: Blueprint) -> None:
    assert blueprint.services[WEB].health_check_path == "/healthz"


def test_python_is_one_that_the_package_supports(
    variables: Callable[[str], dict[str, str]],
) -> None:
    version = variables(WEB)["PYTHON_VERSION"]
    supported = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]

    assert re.fullmatch(r"3\.1[123]\.\d+", version), "Render wants all three numbers"
    assert supported["requires-python"] == ">=3.11,<3.14"


def test_the_database_is_not_on_the_internet(content: dict[str, Any]) -> None:
    (database,) = content["databases"]

    assert database["ipAllowList"] == []
    assert int(database["postgresMajorVersion"]) >= 16


def test_every_variable_is_one_that_something_reads(blueprint: Blueprint) -> None:
    sources = [*(CHECKOUT / "dagster_apollo").rglob("contract.py")]
    read = " ".join(path.read_text() for path in sources).upper()
    by_render = {"PYTHON_VERSION", "PORT"}

    for name in blueprint.services:
        for key in blueprint.keys(name) - CONTRACT - by_render:
            assert key in read, f"{name}: {key} is in no contract"


# the reader --------------------------------------------------------------------------------------


def test_references_are_resolved_as_render_documents_them(
    variables: Callable[[str], dict[str, str]],
) -> None:
    values = variables(WEB)

    assert values["DAGSTER_PG_URI"] == POSTGRES
    assert values["APOLLO_SESSION_SECRET"] == f"generated for {WEB}: APOLLO_SESSION_SECRET"
    assert variables(CODE)["SNOWFLAKE_USER"] == "given SNOWFLAKE_USER"


def test_parts_of_a_database_and_of_another_service_can_be_had(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    database = {"name": "dagster-postgres"}
    service = {"type": "pserv", "name": CODE}
    changed["services"][1]["envVars"] = [
        {"key": "A", "fromDatabase": {**database, "property": "host"}},
        {"key": "B", "fromDatabase": {**database, "property": "password"}},
        {"key": "C", "fromDatabase": {**database, "property": "database"}},
        {"key": "D", "fromService": {**service, "property": "port"}},
        {"key": "E", "fromService": {**service, "envVarKey": "APOLLO_SHUTDOWN_SECONDS"}},
    ]
    given = dict.fromkeys(parse(content).keys(CODE), "x")
    answers = Answers(
        {"dagster-postgres": POSTGRES}, {CODE: Address(CODE, 4000)}, given, lambda _owner, key: key
    )

    values = parse(changed).variables(DAEMON, answers)

    assert list(values.values()) == ["dpg-1.internal", "pass", "dagster_x", "4000", "300"]


def test_a_service_s_own_variable_wins_over_its_group_s(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    changed["services"][1]["envVars"] = [
        {"key": "DBT_TARGET", "value": "dev"},
        {"fromGroup": "apollo"},
    ]

    values = parse(changed).variables(DAEMON, Answers({}, {}, {}, lambda _owner, key: key))

    assert values["DBT_TARGET"] == "dev"


def test_a_value_that_nobody_gave_is_missed_by_name(blueprint: Blueprint) -> None:
    answers = Answers(
        {"dagster-postgres": POSTGRES}, {CODE: Address(CODE, 1)}, {}, lambda _owner, key: key
    )

    with pytest.raises(BlueprintError, match=r"dagster-code: .* SNOWFLAKE_ACCOUNT"):
        blueprint.variables(CODE, answers)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        place: Any = content
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        if isinstance(place, list):
            place.append(value)
        else:
            place[last] = value

    return change


GROUP, VARIABLES = "envVarGroups/0/envVars/-", "services/1/envVars/-"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_set("services/0/autoDeploy", True), "autoDeploy"),
        (_set("services/0/autoDeployTrigger", False), "False"),  # what YAML makes of a bare off
        (_set("services/0/type", "cron"), "cron"),
        (_set("services/1/plan", "free"), "free"),
        (_set("services/1/healthCheckPath", "/healthz"), "services/1/type"),
        (_set("services/2/maxShutdownDelaySeconds", 301), "301"),
        (_set("services/2/runtime", "docker"), "docker"),
        (_set("databases/0/postgresMajorVersion", 16), "16"),
        (_set("databases/0/diskSizeGB", 7), "7"),
        (_set(GROUP, {"key": "A", "sync": False}), "sync"),
        (_set(GROUP, {"key": "A", "fromDatabase": {"name": "dagster-postgres"}}), "fromDatabase"),
        (_set(VARIABLES, {"key": "A", "value": True}), "True"),
        (_set(VARIABLES, {"key": "A", "value": "1", "sync": False}), "sync"),
        (_set(VARIABLES, {"fromGroup": "other"}), "the group other, which does not exist"),
        (
            _set(
                VARIABLES,
                {"key": "A", "fromDatabase": {"name": "other", "property": "connectionString"}},
            ),
            "the database other, which does not exist",
        ),
        (
            _set(
                VARIABLES,
                {"key": "A", "fromService": {"type": "web", "name": CODE, "property": "host"}},
            ),
            "takes dagster-code for a web, but it is a pserv",
        ),
        (
            _set(
                VARIABLES,
                {"key": "A", "fromService": {"type": "worker", "name": DAEMON, "property": "host"}},
            ),
            "an address of dagster-daemon, which has none",
        ),
        (
            _set(
                VARIABLES,
                {"key": "A", "fromService": {"type": "pserv", "name": CODE, "envVarKey": "NONE"}},
            ),
            "wants NONE, which dagster-code does not set",
        ),
        (_set("services/1/name", CODE), "more than one"),
    ],
)
def test_what_render_would_refuse_or_ignore_is_refused(
    content: dict[str, Any], change: Callable[[dict[str, Any]], None], text: str
) -> None:
    changed = copy.deepcopy(content)
    change(changed)

    with pytest.raises(BlueprintError, match=re.escape(text)):
        parse(changed)


def test_the_database_of_a_blueprint_must_say_who_may_connect(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    del changed["databases"][0]["ipAllowList"]

    with pytest.raises(BlueprintError, match="ipAllowList"):
        parse(changed)


def test_render_s_own_variables_are_those_of_the_kind_of_service(blueprint: Blueprint) -> None:
    def of(name: str, port: int | None = None) -> dict[str, str]:
        return render_variables(
            blueprint.services[name],
            commit="c0ffee",
            instance="srv-1",
            port=port,
            public=Address("apollo.example", 443),
        )

    assert of(WEB)["PORT"] == "10000"
    assert of(WEB)["RENDER_EXTERNAL_HOSTNAME"] == "apollo.example"
    assert "PORT" not in of(CODE), "the file's own"
    assert of(CODE, 5000)["PORT"] == "5000"
    assert "PORT" not in of(DAEMON, 5000)
    assert {of(name)["RENDER_GIT_COMMIT"] for name in blueprint.services} == {"c0ffee"}
