"""render.yaml, run: signed in to, used, redeployed in the middle of a run, and measured.

The chapters share one platform and depend on each other, in this order. The first release builds on
DuckDB (the file's variables with that one override); the second is the file as it stands, with the
target prod, against a stand-in for Snowflake. `make rehearse` shows what is going on.
"""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Browser, expect

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import Snowflake
from tests.rehearsal import database, hosts
from tests.rehearsal.blueprint import load
from tests.rehearsal.memory import Peaks, of_host
from tests.rehearsal.person import Person
from tests.rehearsal.platform import Platform, Progress, Release, say_since
from tests.ui.support import PATIENCE_SECONDS, button, node, until

pytestmark = pytest.mark.integration

WEB, DAEMON, CODE = "dagster-webserver", "dagster-daemon", "dagster-code"
PLAN_MEGABYTES = {"starter": 512, "standard": 2048}
TENANT = Path("tenants/dbt_williamgrant")
TENANT_DIR = CHECKOUT / TENANT
SLOW = "rehearsal_slow"
_SLOW_SQL = """\
{{ config(
    materialized="table",
    schema="rehearsal",
    pre_hook="set threads = 1" if target.type == "duckdb" else [],
) }}
{% if target.type == "duckdb" and load_relation(this) is not none %}
select sum(a.range * b.range) as total from range(3000000) as a, range(300000) as b
{% else %}
select 1 as total
{% endif %}
"""
DBT = "launcher.py build"


def add_slow_model(source: Path) -> None:
    """A model that is built at once the first time, and on DuckDB takes hours from then on.

    It keeps one core busy, so that the other is there for a redeploy.
    """
    folder = source / TENANT / "models" / "rehearsal"
    folder.mkdir()
    (folder / f"{SLOW}.sql").write_text(_SLOW_SQL)


def make_second_release(source: Path) -> None:
    """Every minute; and without the unit tests, which the stand-in has no temporary tables for."""
    add_slow_model(source)
    (source / TENANT / "apollo.yml").write_text('cron: "* * * * *"\n')
    for path in (source / TENANT).rglob("*_unit_tests.yml"):
        path.unlink()


FIRST = Release("1" * 40, add_slow_model, {"all": {"DBT_TARGET": "local"}})
SECOND = Release("2" * 40, make_second_release)
THIRD = Release("3" * 40, make_second_release, {DAEMON: {"APOLLO_DEPLOY_SECONDS": "1"}})


@dataclass
class Stage:
    """What the chapters share, and what one leaves for the next."""

    platform: Platform
    person: Person
    password: str
    say: Progress
    connection: str
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    broken_off: str = ""
    """The run that the redeploy ended."""
    resumed: str = ""
    """The one that goes on from there."""

    def peaks(self) -> Peaks:
        """Measure each service until the end of a block; of the code server, also its parts."""
        instances = dict(self.platform.instances)
        sources: dict[str, Callable[[], dict[int, str]]] = {
            name: it.running.processes for name, it in instances.items()
        }
        sources["dbt"] = lambda: instances[CODE].running.processes("launcher.py")
        return Peaks(sources)

    def note(self, column: str, megabytes: dict[str, int]) -> None:
        for name, value in megabytes.items():
            self.memory.setdefault(name, {})[column] = value

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with (
            contextlib.closing(psycopg2.connect(self.connection)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def stage(
    browser: Browser,
    fakesnow_server: Snowflake,
    rsa_key: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    reason = hosts.why_not()
    if not (CHECKOUT / ".git").exists():
        reason = "not a Git checkout, so what a clone would hold is not known"
    if reason:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("rehearsal")
    pictures = Path(os.environ.get("REHEARSAL_PICTURES", root / "pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    say = say_since(time.monotonic())
    blueprint = load()
    (wanted,) = blueprint.databases.values()
    given, emulator = warehouse(fakesnow_server, rsa_key)
    folder = tmp_path_factory.mktemp("postgres")
    version = int(wanted["postgresMajorVersion"])
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(
            database.serve(
                folder, version=version, database=wanted["databaseName"], user=wanted["user"]
            )
        )
        say(f"Postgres {version}: up")
        platform = Platform(
            blueprint,
            root / "hosts",
            databases={wanted["name"]: connection},
            given=given,
            overrides={CODE: emulator},
            say=say,
        )
        stack.callback(platform.close)
        platform.deploy(FIRST)
        context = browser.new_context(
            viewport={"width": 1600, "height": 900}, base_url=platform.public.url
        )
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        person = Person(page, platform.public.url, pictures)
        password = platform.value(WEB, "APOLLO_ADMIN_PASSWORD")
        say(f"the UI is at {person.url}, pictures go to {pictures}")
        yield Stage(platform, person, password, say, connection)
        say("closing")
    say("all ended and removed")


def warehouse(snowflake: Snowflake, pem: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a person fills in, and what leads to the stand-in; its schema RAW is loaded."""
    variables = snowflake.variables(pem, "rehearsal")
    with snowflake.connect(pem, "rehearsal") as cursor, contextlib.chdir(TENANT_DIR):
        for statement in (TENANT_DIR / "load_raw.sql").read_text().split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    names = ("SNOWFLAKE_HOST", "SNOWFLAKE_PORT", "SNOWFLAKE_PROTOCOL")
    return variables, {name: variables[name] for name in names}


def test_every_service_is_ready_and_knows_no_more_than_it_needs(stage: Stage) -> None:
    platform = stage.platform
    platform.wait("the front door says that all is ready", lambda: platform.get("/readyz") == 200)
    stage.say("dagster-webserver: /readyz says 200: database, schema, code and daemon are there")

    for name, instance in platform.instances.items():
        environments = [
            instance.running.environment(pid) for pid in instance.running.processes("apollo")
        ]
        assert environments, name
        known = {variable for it in environments for variable in it}
        assert any("SNOWFLAKE" in it for it in known) == (name == CODE), name
        assert ("APOLLO_SESSION_SECRET" in known) == (name == WEB), name
        home = instance.host.path(environments[0]["DAGSTER_HOME"])
        assert (home / "dagster.yaml").is_file(), f"{name} has an instance directory of its own"
        assert (home / "tenants").exists() == (name == CODE), "only the code server prepares"


def test_nobody_gets_in_who_has_not_signed_in(stage: Stage) -> None:
    person = stage.person
    assert stage.platform.get("/graphql?query=%7B__typename%7D") in {302, 303, 401}
    person.go("/")
    expect(person.page.locator("input[type=password]")).to_be_visible()
    person.picture("1-sign-in")

    person.sign_in("admin", "not the password")

    expect(person.page.locator("input[type=password]")).to_be_visible()
    assert stage.platform.get("/healthz") == 200, "of no one"


def test_the_lineage_is_shown_to_who_has_signed_in(stage: Stage) -> None:
    person = stage.person
    person.go("/")
    person.sign_in("admin", stage.password)
    person.page.wait_for_url(lambda url: "/auth/" not in url)

    person.go("/asset-groups")
    graph = person.page.locator("foreignObject")
    for group in ("staging", "intermediate", "supply_analytics", "commercial_analytics"):
        expect(graph.get_by_text(group, exact=True)).to_be_visible()

    person.go_to_lineage('+key:"*mart_distillery_output"')
    person.expand_groups()
    for name in ("mart_distillery_output", "stg_distillation_runs", "distilleries"):
        expect(node(person.page, name)).to_be_visible()
    person.picture("2-lineage")


def test_a_build_shows_what_it_prints_while_it_runs_on_another_host(stage: Stage) -> None:
    person, platform = stage.person, stage.platform
    stage.note("idle", {it: of_host(_processes(platform, it)) for it in platform.instances})
    with stage.peaks() as peaks:
        run_id = person.build_all()
        stage.say(f"run {run_id[:8]}: the whole tenant, on DuckDB")
        assert person.wait_for(run_id, "STARTED") == "STARTED"
        code = platform.instances[CODE].running
        until("dbt runs beside the code server", lambda: code.processes(DBT))
        person.open_stdout(run_id)
        before = until("the page shows what the run prints", person.lines)
        more = until(
            "the page shows more", lambda: it if (it := person.lines()) > before + 20 else 0
        )
        assert person.run(run_id)["status"] == "STARTED", "the run still runs"
        person.picture("3-live-log")
        stage.say(f"run {run_id[:8]}: {before}, then {more} lines of its log are on the page")

        assert person.wait_for(run_id, "SUCCESS") == "SUCCESS", platform.logs()
    stage.note("DuckDB build", peaks.megabytes)
    assert person.run(run_id)["stats"]["materializations"] > 50
    person.open_run(run_id)
    person.sees("Success")
    person.sees("RUN_SUCCESS")  # the events come over the WebSocket
    person.picture("4-built-on-duckdb")


def test_a_run_terminated_in_the_ui_leaves_no_dbt(stage: Stage) -> None:
    person, running = stage.person, stage.platform.instances[CODE].running
    run_id = _slow_run(stage)
    person.open_run(run_id)

    button(person.page, "Terminate").click()
    button(person.page, "Terminate 1 run").click()

    assert person.wait_for(run_id, "CANCELED") == "CANCELED"
    until("dbt has ended", lambda: not running.processes(DBT), 10)
    person.sees("Canceled")
    person.picture("5-terminated")
    stage.say(f"run {run_id[:8]}: terminated from the UI; no dbt is left")


def test_a_redeploy_in_the_middle_of_a_run_breaks_off_no_more_than_it_must(stage: Stage) -> None:
    person, platform = stage.person, stage.platform
    stage.broken_off = _slow_run(stage)
    before = dict(platform.instances)

    with watching(platform) as answers:
        old = platform.deploy(SECOND)

    assert {it.service.name for it in old} == {WEB, DAEMON, CODE}
    assert [it.service.name for it in old if it.was_killed] == [], "SIGTERM was enough"
    assert set(answers) == {200}, "the UI was reachable all the time"
    assert answers[200] > 20
    assert [it.host.folder for it in before.values() if it.host.folder.exists()] == []
    _only_the_new_daemon_is_active(stage)
    person.go("/")  # the session holds, at another instance
    assert person.wait_for(stage.broken_off, "FAILURE") == "FAILURE"
    stage.say(f"run {stage.broken_off[:8]}: recorded as failed when its code server went")
    platform.wait("the new release is ready", lambda: platform.get("/readyz") == 200)


def test_the_log_of_a_run_whose_host_is_gone_is_still_there(stage: Stage) -> None:
    person = stage.person

    person.open_stdout(stage.broken_off)

    assert until("the log is shown", person.lines) > 5
    person.picture("6-log-of-a-host-that-is-gone")


def test_what_the_redeploy_broke_off_is_resumed_by_itself(stage: Stage) -> None:
    person = stage.person

    stage.resumed = until("a run goes on with it", lambda: person.child_of(stage.broken_off))

    tags = {it["key"]: it["value"] for it in person.run(stage.resumed)["tags"]}
    assert tags["dagster/retry_number"] == "1"
    assert tags["apollo/resumed"] == "automatically"
    stage.say(f"run {stage.resumed[:8]}: resumes what was broken off, by itself; it queues")


def test_the_schedule_of_production_builds_on_snowflake(
    stage: Stage, fakesnow_server: Snowflake
) -> None:
    person, platform = stage.person, stage.platform

    def ticked() -> str:
        runs = person.runs(pipelineName="williamgrant_build")
        tags = {it["runId"]: {tag["key"]: tag["value"] for tag in it["tags"]} for it in runs}
        name = "williamgrant_build_schedule"
        found = [it for it, tag in tags.items() if tag.get("dagster/schedule_name") == name]
        return found[-1] if found else ""

    with stage.peaks() as peaks:
        run_id = until("the schedule has ticked", ticked)
        stage.say(f"run {run_id[:8]}: launched by the schedule, on Snowflake's stand-in")
        person.open_run(run_id)
        assert person.wait_for(run_id, "SUCCESS") == "SUCCESS", platform.logs()
    stage.note("Snowflake build", peaks.megabytes)
    person.sees("Success")
    person.picture("7-scheduled-on-snowflake")
    assert person.run(run_id)["stats"]["materializations"] > 50
    tags = {login.query_tag.get("dagster_run_id") for login in fakesnow_server.logins}
    assert run_id in str(tags)
    assert fakesnow_server.refused == []
    assert person.wait_for(stage.resumed, "SUCCESS") == "SUCCESS", platform.logs()
    assert person.run(stage.resumed)["stats"]["materializations"] == 1, "what was not built, alone"
    stage.say(f"run {stage.resumed[:8]}: done")


def test_each_service_fits_its_plan(stage: Stage) -> None:
    columns = ("idle", "DuckDB build", "Snowflake build")
    rows = [("MB", *columns)]
    rows += [
        (name, *(str(values.get(column, "")) for column in columns))
        for name, values in stage.memory.items()
    ]
    for row in rows:
        stage.say("".join(f"{cell:>18}" for cell in row))

    for service in stage.platform.blueprint.services.values():
        measured = max(stage.memory[service.name].values())
        assert measured < 0.75 * PLAN_MEGABYTES[service.plan], f"{service.name}: {measured} MB"


def test_a_service_that_is_left_behind_says_so_and_does_not_start_again(stage: Stage) -> None:
    platform = stage.platform
    old_web = platform.instances[WEB]
    platform.deploy(THIRD, DAEMON)
    daemon = platform.instances[DAEMON]
    try:
        until("it says so", lambda: "longer than a deploy takes" in daemon.running.output())

        again = platform.start_again(daemon)

        assert again.wait(PATIENCE_SECONDS) == 2
        assert (
            f"APOLLO_RELEASE: is {THIRD.commit} here and has been {SECOND.commit}" in again.output()
        )
    finally:
        stage.say("dagster-daemon: of a release of its own, refuses to start again")
    old_web.look()
    assert platform.get("/healthz") == 200, "the UI is as it was"


def _processes(platform: Platform, name: str) -> dict[int, str]:
    return platform.instances[name].running.processes()


def _slow_run(stage: Stage) -> str:
    """Launch what takes hours, and wait until dbt is at it."""
    run_id = stage.person.build(SLOW)
    instance = stage.platform.instances[CODE]
    variables = instance.running.environment(instance.running.process.pid)
    home = instance.host.path(variables["DAGSTER_HOME"])
    log = home / "tenants" / "williamgrant" / "runs" / run_id / "dbt.log"
    until("dbt builds the model", lambda: log.exists() and "START sql table" in log.read_text())
    assert instance.running.processes(DBT)
    stage.say(f"run {run_id[:8]}: a model that takes hours")
    return run_id


def _only_the_new_daemon_is_active(stage: Stage) -> None:
    """Exactly one session holds the lock of the active daemon, and it is the new one's."""
    held = (
        "select count(*) from pg_locks join pg_stat_activity using (pid) "
        "where locktype = 'advisory' and granted and application_name like 'apollo daemon%'"
    )
    until("a daemon is active", lambda: stage.sql(held) == [(1,)], 30)
    output = stage.platform.instances[DAEMON].running.output()
    assert "This daemon is the active one" in output


@contextlib.contextmanager
def watching(platform: Platform) -> Iterator[Counter[int]]:
    """Ask for the web service twice a second, and count the answers."""
    answers: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.5):
            answers[platform.get("/healthz")] += 1

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(10)
