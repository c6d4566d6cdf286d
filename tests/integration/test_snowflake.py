"""Tenants on Snowflake: the real adapter, the real connector and a key-pair login, over HTTP.

The tests marked `snowflake` do the same on a real account, if its variables are set.
"""

import contextlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterEventType, DagsterRunStatus

from dagster_apollo.dbt.manifest import asset_nodes, read_manifest
from tests.integration.conftest import (
    SMALL,
    WILLIAMGRANT,
    CopyTenants,
    Login,
    MakeEnvironment,
    OpenHome,
    RunApollo,
    Snowflake,
    free_port,
    make_pem,
)

pytestmark = pytest.mark.integration

# fakesnow 0.12 runs neither unit tests nor the second run of a merge or a snapshot
NO_UNIT_TESTS = ("--exclude", "resource_type:unit_test")
DATABASE = "GRANT_DB"


@dataclass(frozen=True)
class Built:
    """A finished build."""

    tenant: str
    env: Mapping[str, str]
    exit_code: int
    summary: Mapping[str, Any]
    log: str

    @property
    def run_id(self) -> str:
        return str(self.summary["run_id"])

    @property
    def home(self) -> Path:
        return Path(self.env["DAGSTER_HOME"]) / "tenants" / self.tenant

    @property
    def manifest(self) -> Mapping[str, Any]:
        return read_manifest(self.home / "prepared" / "dev" / "manifest.json")

    @property
    def dbt_log(self) -> str:
        return (self.home / "runs" / self.run_id / "dbt.log").read_text()

    @property
    def results(self) -> dict[str, str]:
        path = self.home / "runs" / self.run_id / "run_results.json"
        return {it["unique_id"]: it["status"] for it in json.loads(path.read_text())["results"]}


def build(apollo: RunApollo, env: Mapping[str, str], tenant: str, *args: str) -> Built:
    """Run `apollo build --target dev` to its end, however that is."""
    ended = apollo(["build", tenant, "--target", "dev", "--json", *args], env)
    assert ended.stdout, ended.stderr
    return Built(
        tenant, env, ended.returncode, json.loads(ended.stdout)[tenant], ended.stdout + ended.stderr
    )


def checks_of(doctor_stdout: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(doctor_stdout)}


def relations(server: Snowflake, pem: str, database: str) -> set[tuple[str, str]]:
    """Schema and name, in lower case, of every table and view of a database."""
    found = set()
    with server.connect(pem, database) as cursor:
        for kind in ("tables", "views"):
            cursor.execute(
                f"select table_schema, table_name from {database}.information_schema.{kind}"
            )
            found |= {(row[0].lower(), row[1].lower()) for row in cursor.fetchall()}
    return {row for row in found if "information_schema" not in row[0]}


@pytest.fixture(scope="module")
def unreachable(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    run_apollo: RunApollo,
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> Iterator[Future[Built]]:
    """A build against a closed port. The connector tries for a minute, so others go on."""
    variables = {**fakesnow_server.variables(rsa_key, "NO_DB"), "SNOWFLAKE_PORT": str(free_port())}
    env = apollo_env(copy_tenants(dbt_small=SMALL), **variables)
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(build, run_apollo, env, "small", "--select", "raw_orders")


# --- the whole first tenant ------------------------------------------------------------------


@pytest.fixture(scope="module")
def grant(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    fakesnow_server: Snowflake,
    rsa_key: str,
    unreachable: Future[Built],  # begins here, to end while this goes on
) -> Built:
    """williamgrant, built once: RAW is filled by the script that its README names."""
    tenants_dir = copy_tenants(dbt_williamgrant=WILLIAMGRANT)
    script = (WILLIAMGRANT / "load_raw.sql").read_text()
    script = script.replace("file://data/", f"file://{WILLIAMGRANT / 'data'}/")
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    with fakesnow_server.connect(rsa_key, DATABASE) as cursor:
        for statement in "\n".join(lines).split(";"):
            if statement.strip():
                cursor.execute(statement)
    env = apollo_env(tenants_dir, **fakesnow_server.variables(rsa_key, DATABASE))
    return build(call_apollo, env, "williamgrant", *NO_UNIT_TESTS)


def test_every_node_of_the_tenant_succeeds(grant: Built) -> None:
    manifest = grant.manifest
    expected = {node["unique_id"] for node in asset_nodes(manifest)} | {
        name for name, node in manifest["nodes"].items() if node["resource_type"] == "test"
    }
    built = {name for name, status in grant.results.items() if status in {"success", "pass"}}
    assert grant.exit_code == 0, grant.log
    assert built >= expected
    assert grant.summary["success"] == len(expected)
    assert (grant.summary["error"], grant.summary["warn"], grant.summary["skipped"]) == (0, 0, 0)
    assert grant.summary["target"] == "dev"


def test_the_run_and_every_asset_are_recorded_in_dagster(grant: Built, open_home: OpenHome) -> None:
    keys = {AssetKey([grant.tenant, *_dbt_key(node)]) for node in asset_nodes(grant.manifest)}
    with open_home(grant.env) as instance:
        run = instance.get_run_by_id(grant.run_id)
        events = [entry.dagster_event for entry in instance.all_logs(grant.run_id)]
    materialized = {
        event.asset_key
        for event in events
        if event and event.event_type is DagsterEventType.ASSET_MATERIALIZATION
    }
    checked = [
        event.asset_check_evaluation_data
        for event in events
        if event and event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert run is not None
    assert run.status is DagsterRunStatus.SUCCESS
    assert (run.tags["apollo/tenant"], run.tags["apollo/target"]) == ("williamgrant", "dev")
    assert materialized == keys
    assert checked
    assert all(check.passed for check in checked)


def _dbt_key(node: Mapping[str, Any]) -> list[str]:
    """dagster-dbt's own key: the schema of the config and the name; a version has its alias."""
    if node.get("version"):
        return [node["alias"]]
    return [node["config"]["schema"], node["name"]]


def test_each_relation_is_in_the_schema_that_its_config_names(
    grant: Built, fakesnow_server: Snowflake, rsa_key: str
) -> None:
    expected = {
        (node["config"]["schema"], node["alias"].lower()) for node in asset_nodes(grant.manifest)
    }
    found = relations(fakesnow_server, rsa_key, DATABASE)
    assert {row for row in found if row[0] != "raw"} == expected
    assert {"marts", "staging", "reference", "snapshots"} <= {schema for schema, _ in expected}
    assert not {schema for schema, _ in found} & {"", "public", "main"}


def test_every_session_is_tagged_with_the_run_that_it_works_for(
    grant: Built, fakesnow_server: Snowflake
) -> None:
    expected = {
        "app": "apollo",
        "tenant": "williamgrant",
        "target": "dev",
        "dagster_run_id": grant.run_id,
    }
    sessions = _dbt_logins(fakesnow_server, DATABASE, grant.run_id)
    assert len(sessions) > 1  # dbt has one session a thread
    assert all(login.query_tag == expected for login in sessions)
    # the preparation, which came first, made none
    assert len(sessions) == len(_dbt_logins(fakesnow_server, DATABASE))


def _dbt_logins(server: Snowflake, database: str, run_id: str | None = None) -> list[Login]:
    return [
        login
        for login in server.logins_to(database)
        if login.application == "dbt"
        and (run_id is None or login.query_tag.get("dagster_run_id") == run_id)
    ]


def test_every_login_is_by_a_signed_token_and_the_key_stays_here(
    grant: Built, fakesnow_server: Snowflake, rsa_key: str
) -> None:
    sessions = _dbt_logins(fakesnow_server, DATABASE)
    assert {login.data["AUTHENTICATOR"] for login in sessions} == {"SNOWFLAKE_JWT"}
    assert all(login.data["TOKEN"].count(".") == 2 for login in sessions)
    assert not any(login.data.get("PASSWORD") for login in sessions)
    sent = b"".join(fakesnow_server.bodies)
    body = "".join(rsa_key.splitlines()[1:-1])
    assert sessions[0].data["TOKEN"].encode() in sent  # so a key would be found, too
    assert not [at for at in range(0, len(body) - 16, 8) if body[at : at + 16].encode() in sent]


def test_the_doctor_logs_in_and_reports_role_warehouse_and_database(
    grant: Built, call_apollo: RunApollo
) -> None:
    ended = call_apollo(["doctor", "--connect", "--json", "--target", "dev"], grant.env)
    checks = checks_of(ended.stdout)
    assert ended.returncode == 0, ended.stdout
    assert {check["status"] for check in checks.values()} == {"ok"}
    found = checks["connection"]["finding"]
    assert found == f"logged in: role {DATABASE}_ROLE, warehouse {DATABASE}_WH, database {DATABASE}"
    assert "SHA256:" in checks["private key"]["finding"]


# --- what can be wrong -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_env(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> dict[str, str]:
    """dbt_small, on target dev."""
    return apollo_env(
        copy_tenants(dbt_small=SMALL),
        DBT_TARGET="dev",
        **fakesnow_server.variables(rsa_key, "SMALL_DB"),
    )


def test_a_refused_key_is_reported_once_and_not_tried_again(
    small_env: dict[str, str], call_apollo: RunApollo, fakesnow_server: Snowflake
) -> None:
    stranger = {**small_env, "SNOWFLAKE_PRIVATE_KEY_PEM": make_pem()}
    before = len(fakesnow_server.refused)
    failed = build(call_apollo, stranger, "small", "--select", "raw_orders")
    assert failed.exit_code == 1
    assert failed.summary["status"] == "failure"
    assert "JWT token is invalid" in failed.log
    assert "Traceback" not in failed.log
    assert len(fakesnow_server.refused) - before == 1


def test_the_doctor_says_what_to_do_about_a_refused_key(
    small_env: dict[str, str], call_apollo: RunApollo
) -> None:
    stranger = {**small_env, "SNOWFLAKE_PRIVATE_KEY_PEM": make_pem()}
    ended = call_apollo(["doctor", "--connect", "--json"], stranger)
    connection = checks_of(ended.stdout)["connection"]
    assert ended.returncode == 2
    assert connection["status"] == "error"
    assert "the login failed" in connection["finding"]
    assert "RSA_PUBLIC_KEY_FP" in connection["mend"]


@pytest.mark.parametrize(("what", "name"), [("role", "_role"), ("warehouse", "_wh")])
def test_the_doctor_notices_what_the_user_was_not_granted(
    what: str,
    name: str,
    small_env: dict[str, str],
    call_apollo: RunApollo,
    fakesnow_server: Snowflake,
) -> None:
    fakesnow_server.not_granted.add(f"SMALL_DB{name}")
    try:
        ended = call_apollo(["doctor", "--connect", "--json"], small_env)
    finally:
        fakesnow_server.not_granted.clear()
    connection = checks_of(ended.stdout)["connection"]
    assert ended.returncode == 2
    assert f"not with the configured {what}" in connection["finding"]
    assert f"Grant the user's role usage of the {what}" in connection["mend"]


def test_a_server_that_is_down_is_named_as_such(
    small_env: dict[str, str], call_apollo: RunApollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_apollo.checks._LOGIN_SECONDS", 2)
    closed = {**small_env, "SNOWFLAKE_PORT": str(free_port())}
    ended = call_apollo(["doctor", "--connect", "--json"], closed)
    connection = checks_of(ended.stdout)["connection"]
    assert ended.returncode == 2
    assert "the login failed (Snowflake error 250001)" in connection["finding"]
    assert "network" in connection["mend"]


def test_a_build_says_that_the_server_is_down(unreachable: Future[Built], rsa_key: str) -> None:
    failed = unreachable.result()
    assert failed.exit_code == 1
    assert failed.summary["status"] == "failure"
    assert "Could not connect to Snowflake backend" in failed.log
    assert "Traceback" not in failed.log
    assert not [line for line in rsa_key.splitlines() if line in failed.log]


# --- who decides the schema ------------------------------------------------------------------


@pytest.fixture
def homeless(copy_tenants: CopyTenants) -> Path:
    """dbt_small with one model whose schema nothing decides."""
    tenants_dir = copy_tenants(dbt_small=SMALL)
    project = tenants_dir / "dbt_small"
    (project / "models" / "stray").mkdir()
    (project / "models" / "stray" / "lost.sql").write_text("select 1 as n")
    config = project / "dbt_project.yml"
    text = config.read_text()
    assert "    +schema: marts\n" in text
    models = "".join(f"    {name}: {{+schema: marts}}\n" for name in ("orders", "customers"))
    config.write_text(text.replace("    +schema: marts\n", models))
    return tenants_dir


def test_a_model_without_a_schema_is_refused_by_name_on_snowflake(
    homeless: Path,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> None:
    env = apollo_env(homeless, **fakesnow_server.variables(rsa_key, "HOMELESS_DB"))
    refused = call_apollo(["prepare", "small", "--target", "dev"], env)
    assert refused.returncode == 2
    assert "model.small.lost (models/stray/lost.sql)" in refused.stderr
    assert "model.small.orders " not in refused.stderr
    assert "  models: {small: {+schema: NAME}}" in refused.stderr
    assert "or set SMALL__DBT_SCHEMA (DBT_SCHEMA, if" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not fakesnow_server.logins_to("HOMELESS_DB")

    warned = call_apollo(["prepare", "small", "--target", "local"], env)
    assert warned.returncode == 0, warned.stderr
    assert "warning: 1 node(s) have no schema of their own" in warned.stderr


def _routed(copy_tenants: CopyTenants) -> Path:
    """dbt_small with the routing that tenants share, and a macro that cleans up after a test."""
    tenants_dir = copy_tenants(dbt_small=SMALL)
    project = tenants_dir / "dbt_small"
    shutil.copy(WILLIAMGRANT / "packages.yml", project)
    shutil.copy(WILLIAMGRANT / "macros" / "generate_schema_name.sql", project / "macros")
    (project / "macros" / "drop_all.sql").write_text(
        "{% macro drop_all() %}\n"
        "  {% for layer in ['marts', 'reference', 'snapshots'] %}\n"
        "    {% do adapter.drop_schema(api.Relation.create(\n"
        "      database=target.database, schema=target.schema ~ '_' ~ layer)) %}\n"
        "  {% endfor %}\n"
        "{% endmacro %}\n"
    )
    return tenants_dir


@contextlib.contextmanager
def built_in_a_schema_of_its_own(
    env: Mapping[str, str], call_apollo: RunApollo, *args: str
) -> Iterator[Built]:
    """Build the routed dbt_small below a throw-away DBT_SCHEMA, and drop that at the end."""
    assert env["DBT_SCHEMA"].startswith("apollo_test_")
    try:
        yield build(call_apollo, env, "small", *args)
    finally:
        dropped = call_apollo(["dbt", "small", "--", "run-operation", "drop_all"], env)
        assert dropped.returncode == 0, dropped.stdout


def _scratch() -> str:
    return f"apollo_test_{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def routed(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    fakesnow_server: Snowflake,
    rsa_key: str,
) -> Iterator[Built]:
    """The routed dbt_small, built in schemas of its own that are dropped at the end."""
    variables = fakesnow_server.variables(rsa_key, "SCRATCH_DB")
    env = apollo_env(_routed(copy_tenants), DBT_TARGET="dev", DBT_SCHEMA=_scratch(), **variables)
    with built_in_a_schema_of_its_own(env, call_apollo, *NO_UNIT_TESTS) as built:
        yield built
    assert relations(fakesnow_server, rsa_key, "SCRATCH_DB") == set()


def test_dbt_schema_is_a_prefix_on_dev(
    routed: Built, fakesnow_server: Snowflake, rsa_key: str
) -> None:
    prefix = routed.env["DBT_SCHEMA"]
    assert routed.exit_code == 0, routed.log
    assert relations(fakesnow_server, rsa_key, "SCRATCH_DB") == {
        (f"{prefix}_reference", "raw_orders"),
        (f"{prefix}_marts", "orders"),
        (f"{prefix}_marts", "customers"),
        (f"{prefix}_snapshots", "orders_history"),
    }


def test_a_later_run_parses_nothing_though_its_query_tag_is_another(
    routed: Built, call_apollo: RunApollo, fakesnow_server: Snowflake
) -> None:
    later = build(call_apollo, routed.env, "small", "--select", "raw_orders")
    assert later.exit_code == 0, later.log
    assert later.run_id != routed.run_id
    assert _dbt_logins(fakesnow_server, "SCRATCH_DB", later.run_id)
    for run in (routed, later):
        assert "no changes found, skipping parsing" in run.dbt_log
        assert "Unable to do partial parsing" not in run.dbt_log


# --- a real account --------------------------------------------------------------------------


@pytest.fixture
def account_env(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, snowflake_account: Mapping[str, str]
) -> dict[str, str]:
    """The routed dbt_small on the account that pytest was started with."""
    variables = {k: v for k, v in snowflake_account.items() if k.startswith("SNOWFLAKE_")}
    return apollo_env(_routed(copy_tenants), DBT_TARGET="dev", DBT_SCHEMA=_scratch(), **variables)


@pytest.mark.snowflake
def test_the_doctor_logs_in_to_the_account(
    account_env: dict[str, str], call_apollo: RunApollo
) -> None:
    ended = call_apollo(["doctor", "--connect", "--json"], account_env)
    assert checks_of(ended.stdout)["connection"]["status"] == "ok", ended.stdout


@pytest.mark.snowflake
def test_a_build_twice_over_succeeds_on_the_account(
    account_env: dict[str, str], call_apollo: RunApollo
) -> None:
    with built_in_a_schema_of_its_own(account_env, call_apollo) as first:
        assert first.exit_code == 0, first.log
        again = build(call_apollo, account_env, "small")
        assert again.exit_code == 0, again.log
        assert Counter(again.results.values()) == Counter(first.results.values())
