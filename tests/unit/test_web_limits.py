"""What people get who are limited to tenants: the rules, and that what has no rule is refused."""

import abc
import io
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance, DagsterRun, RunsFilter
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.storage.compute_log_manager import ComputeLogManager
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.runs import RunStorage
from dagster._core.storage.schedules import ScheduleStorage
from dagster._core.workspace.workspace import CurrentWorkspace

from dagster_apollo.cli.user import hash_user
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.tenant_tags import TENANT_TAG, with_tenant
from dagster_apollo.web.grants import Grant, greatest
from dagster_apollo.web.limits.events import LimitedEvents
from dagster_apollo.web.limits.instance import LimitedInstance
from dagster_apollo.web.limits.logs import LimitedLogs
from dagster_apollo.web.limits.redaction import limited_tags
from dagster_apollo.web.limits.runs import LimitedRuns
from dagster_apollo.web.limits.scope import NotForLimitedError, Scope
from dagster_apollo.web.limits.ticks import LimitedTicks
from dagster_apollo.web.limits.views import Refused, members, refusing
from dagster_apollo.web.limits.workspace import LimitedLocation
from dagster_apollo.web.roles import Role

pytestmark = pytest.mark.unit

ACME = Scope(frozenset({"acme"}))
OURS, OTHERS = AssetKey(["acme", "orders"]), AssetKey(["globex", "orders"])


def limited(role: Role, *tenants: str) -> Grant:
    return Grant(role, frozenset(tenants))


@pytest.mark.parametrize("text", ["viewer", "operator", "admin", "viewer@acme", "operator@a+b-c.d"])
def test_a_grant_is_read_as_it_is_written(text: str) -> None:
    assert str(Grant.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["viewer@", "viewer@+", "viewer@acme+", "admin@acme", "viewer@a b", "viewer@a@b", "@acme", ""],
)
def test_what_limits_to_nothing_that_is_known_is_no_grant(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Grant.parse(text)


def test_tenants_that_were_named_by_an_empty_text_are_not_all() -> None:
    assert Grant.of("viewer", None) == Grant(Role.VIEWER)
    assert Grant.of("viewer", "acme, globex") == limited(Role.VIEWER, "acme", "globex")
    with pytest.raises(ValueError, match="does not name tenants"):
        Grant.of("viewer", "")


def test_of_several_grants_the_highest_role_counts_where_it_was_given() -> None:
    viewer, operator = limited(Role.VIEWER, "acme"), limited(Role.OPERATOR, "globex")
    assert greatest([viewer, operator]) == operator
    assert greatest([viewer, limited(Role.VIEWER, "b")]) == limited(Role.VIEWER, "acme", "b")
    assert greatest([viewer, Grant(Role.VIEWER)]) == Grant(Role.VIEWER)
    assert greatest([Grant(Role.VIEWER), operator]) == operator
    assert greatest([]) is None


def test_the_command_line_writes_an_entry_with_its_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a password that is long\n"))
    hash_user("ann", role="viewer", tenants="globex,acme")
    assert capsys.readouterr().out.startswith("ann:viewer@acme+globex:$argon2id$")
    for role, tenants in (("viewer", ""), ("admin", "acme")):
        with pytest.raises(ApolloError, match="--tenants"):
            hash_user("ann", role=role, tenants=tenants)


def run(tags: dict[str, str], *assets: AssetKey, checks: list[AssetCheckKey] | None = None) -> Any:
    return DagsterRun(
        "job",
        tags=tags,
        asset_selection=frozenset(assets) or None,
        asset_check_selection=frozenset(checks) if checks else None,
    )


def test_a_run_says_whose_it_is_by_its_assets() -> None:
    assert with_tenant(run({}, OURS)).tags == {TENANT_TAG: "acme"}
    assert with_tenant(run({}, checks=[AssetCheckKey(OURS, "x")])).tags == {TENANT_TAG: "acme"}
    assert with_tenant(run({"a": "b"})).tags == {"a": "b"}
    assert with_tenant(run({TENANT_TAG: "acme corp"}, OURS)).tags == {TENANT_TAG: "acme corp"}
    assert with_tenant(run({TENANT_TAG: "acme", "a": "b"}, OURS, OTHERS)).tags == {"a": "b"}


def test_a_run_of_nobody_knows_whom_is_nobody_s() -> None:
    tag = {TENANT_TAG: "acme"}
    assert ACME.has_run(run(tag))
    assert ACME.has_run(run(tag, OURS))
    for other in (
        run({}),
        run({}, OURS),
        run({TENANT_TAG: "globex"}, OURS),
        run(tag, OURS, OTHERS),
        run(tag, OURS, checks=[AssetCheckKey(OTHERS, "x")]),
    ):
        assert not ACME.has_run(other)


def test_a_tenant_s_name_is_not_a_beginning_of_another_s() -> None:
    assert ACME.has(AssetKey(["acme"]))
    assert not ACME.has(AssetKey(["acme_eu", "orders"]))
    assert Scope(frozenset({"été"})).has(AssetKey(["ete", "orders"]))


def test_a_filter_of_runs_cannot_be_widened() -> None:
    assert ACME.narrowed(None) == RunsFilter(tags={TENANT_TAG: ["acme"]})
    assert ACME.narrowed(RunsFilter(tags={TENANT_TAG: "globex"})) is None
    asked = RunsFilter(job_name="x", tags={"a": "b", TENANT_TAG: ["globex", "acme"]})
    assert ACME.narrowed(asked) == RunsFilter(job_name="x", tags={"a": "b", TENANT_TAG: ["acme"]})


def test_what_an_asset_was_made_from_is_told_where_it_is_theirs() -> None:
    tags = {
        "dagster/data_version": "1",
        "dagster/input_data_version/acme/orders": "2",
        "dagster/input_data_version/globex/orders": "3",
        "dagster/input_event_pointer/globex/orders": "4",
        "dagster/input_of_a_new_kind": "5",
    }
    assert list(limited_tags(tags, ACME)) == [
        "dagster/data_version",
        "dagster/input_data_version/acme/orders",
    ]


class View(NamedTuple):
    """A view, and what it passes for."""

    view: type
    base: type


VIEWS = [
    View(LimitedRuns, RunStorage),
    View(LimitedEvents, EventLogStorage),
    View(LimitedTicks, ScheduleStorage),
    View(LimitedLogs, ComputeLogManager),
    View(LimitedLocation, CodeLocation),
]
WRITES = ("add_", "delete_", "wipe", "update_", "store_", "set_", "create_", "purge_", "free_")


@pytest.mark.parametrize(("view", "base"), VIEWS)
def test_a_view_changes_nothing(view: type, base: type) -> None:
    writes = [name for name in members(base) if name.startswith(WRITES)]
    assert [name for name in writes if not isinstance(vars(view).get(name), Refused)] == []


@pytest.mark.parametrize(("view", "base"), VIEWS)
def test_a_view_says_of_each_member_of_its_base_what_it_is(view: type, base: type) -> None:
    inherited = {name for name in members(base) if name not in vars(view)}
    assert inherited <= {
        "build_cursor",
        "build_log_key_for_run",
        "cleanup",
        "default_run_scoped_event_tailer_offset",
        "gen_subset_job",
        "get_asset_keys_for_run",
        "get_job",
        "get_logs_for_run",
        "get_repository_names",
        "name",
        "parse_cursor",
    }


def test_what_a_new_release_brings_is_refused() -> None:
    class Base(abc.ABC):
        @abc.abstractmethod
        def known(self) -> str: ...

        def brought(self) -> str:
            return "everything"

        @property
        def also(self) -> bool:
            return True

    @refusing(Base)
    class Limited(Base):
        def known(self) -> str:
            return "theirs"

    view = Limited()
    assert view.known() == "theirs"
    for name in ("brought", "also"):
        with pytest.raises(NotForLimitedError, match=name):
            getattr(view, name)


def test_the_instance_of_limited_people_changes_and_starts_nothing(tmp_path: Path) -> None:
    whole = DagsterInstance.local_temp(str(tmp_path))
    view = LimitedInstance(whole, ACME, CurrentWorkspace({}))
    assert view.get_runs() == []
    whole.add_run(DagsterRun("theirs", tags={TENANT_TAG: "acme"}))
    whole.add_run(DagsterRun("other", tags={TENANT_TAG: "globex"}))
    assert [it.job_name for it in view.get_runs()] == ["theirs"]
    for act in (
        lambda: view.add_run(DagsterRun("new")),
        lambda: view.delete_run("x"),
        view.wipe,
        lambda: view.report_engine_event("x", run_id="x", job_name="x"),
        lambda: view.submit_run("x", None),
        lambda: view.info_str,
        lambda: view.get_dynamic_partitions("x"),
    ):
        with pytest.raises(NotForLimitedError):
            act()
