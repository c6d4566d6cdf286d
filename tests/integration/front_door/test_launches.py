"""Who launched and terminated what: tags on runs, and the audit log."""

from pathlib import Path

import pytest
from dagster import AssetKey, DagsterRun, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.tags import BACKFILL_ID_TAG
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.instance.launcher import INTERRUPTED_TAG
from dagster_apollo.web import audit
from dagster_apollo.web.launches import stamped
from dagster_apollo.web.roles import Role
from tests.integration.front_door.site import (
    JOB,
    LAUNCH,
    REPOSITORY,
    Site,
    graphql,
    launch,
)

pytestmark = pytest.mark.integration

BY, ENDED = "apollo/launched_by", "apollo/terminated_by"

REEXECUTE = """mutation ($params: ReexecutionParams, $execution: ExecutionParams) {
    launchRunReexecution(reexecutionParams: $params, executionParams: $execution) { __typename
        ... on LaunchRunSuccess { run { runId tags { key value } } }
        ... on PythonError { message } } }"""
TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"""
BACKFILL = """mutation ($params: LaunchBackfillParams!) {
    launchPartitionBackfill(backfillParams: $params) { __typename
        ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


def tags_of(site: Site, run_id: str) -> dict[str, str]:
    run = site.instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)


def test_a_run_carries_who_launched_it_and_a_client_cannot_say_otherwise(site: Site) -> None:
    run = launch(
        site.signed_in("otto"),
        (BY, "somebody else"),
        ("apollo/tenant", "another"),
        ("team", "finance"),
    )
    assert run[BY] == "otto"
    assert run["team"] == "finance"
    assert run["apollo/tenant"] == "acme", "the job's own"
    entry = site.audit(actor="otto", action="launchRun")[-1]
    assert entry.allowed
    assert entry.role == "operator"
    assert entry.method == "password"
    assert entry.remote == "198.51.100.7"
    assert entry.target == f"talk, {run['id']}"


def test_a_script_s_run_carries_the_token_s_name(site: Site) -> None:
    assert launch(site.script(Role.OPERATOR))[BY] == "token:script-operator"
    entry = site.audit(action="launchRun")[-1]
    assert (entry.actor, entry.method) == ("token:script-operator", "token")


def test_a_re_execution_is_of_who_asked_for_it_and_inherits_no_end(site: Site) -> None:
    first = launch(site.signed_in("otto"), ("team", "finance"))
    graphql(site.signed_in("otto"), TERMINATE, id=first["id"])
    assert tags_of(site, first["id"])[ENDED] == "otto"
    assert site.instance.get_run_by_id(first["id"]).status is DagsterRunStatus.CANCELED
    answers = [
        graphql(
            site.signed_in("ada"),
            REEXECUTE,
            params={
                "parentRunId": first["id"],
                "strategy": "ALL_STEPS",
                "useParentRunTags": True,
                "extraTags": [{"key": BY, "value": "nobody"}, {"key": "why", "value": "again"}],
            },
        ),
        graphql(
            site.signed_in("ada"),
            REEXECUTE,
            execution={
                "selector": JOB,
                "runConfigData": "{}",
                "executionMetadata": {
                    "parentRunId": first["id"],
                    "rootRunId": first["id"],
                    "tags": [{"key": k, "value": v} for k, v in tags_of(site, first["id"]).items()],
                },
            },
        ),
    ]
    for answer in answers:
        run = answer.json()["data"]["launchRunReexecution"]["run"]
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags[BY] == "ada"
        assert ENDED not in tags
        assert tags["team"] == "finance"
        assert first["id"] in site.audit(action="launchRunReexecution")[-1].target
    assert answers[0].json()["data"]["launchRunReexecution"]["run"]["runId"] in "".join(
        entry.target for entry in site.audit(action="launchRunReexecution")
    )


def test_several_runs_at_once_are_each_tagged_and_named(site: Site) -> None:
    query = """mutation ($list: [ExecutionParams!]!) { launchMultipleRuns(
        executionParamsList: $list) { ... on LaunchMultipleRunsResult {
        launchMultipleRunsResult { ... on LaunchRunSuccess { run { runId } } } } } }"""
    params = {"selector": JOB, "runConfigData": "{}"}
    answer = graphql(site.signed_in("otto"), query, list=[params, params])
    runs = answer.json()["data"]["launchMultipleRuns"]["launchMultipleRunsResult"]
    ids = [item["run"]["runId"] for item in runs]
    assert len(set(ids)) == 2
    assert [tags_of(site, run_id)[BY] for run_id in ids] == ["otto", "otto"]
    assert site.audit(action="launchMultipleRuns")[-1].target == ", ".join(["talk", *ids])


def test_a_backfill_and_its_re_execution_carry_who_asked_for_each(site: Site) -> None:
    def tags(backfill_id: str) -> dict[str, str]:
        return dict(site.instance.get_backfill(backfill_id).tags)

    params = {
        "assetSelection": [{"path": ["orders"]}],
        "partitionNames": ["2026-01-02", "2026-01-03"],
        "tags": [{"key": BY, "value": "nobody"}, {"key": "team", "value": "finance"}],
    }
    answer = graphql(site.signed_in("otto"), BACKFILL, params=params)
    first = answer.json()["data"]["launchPartitionBackfill"]["backfillId"]
    assert tags(first) == {BY: "otto", "team": "finance"}
    assert site.audit(action="launchPartitionBackfill")[-1].target == f"orders, {first}"

    runs = {
        status: site.instance.add_run(
            DagsterRun(job_name="talk", status=status, tags={BACKFILL_ID_TAG: first})
        ).run_id
        for status in (DagsterRunStatus.STARTED, DagsterRunStatus.SUCCESS)
    }
    graphql(
        site.signed_in("otto"),
        "mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }",
        id=first,
    )
    assert tags_of(site, runs[DagsterRunStatus.STARTED])[ENDED] == "otto", "the daemon will end it"
    assert ENDED not in tags_of(site, runs[DagsterRunStatus.SUCCESS])
    assert site.audit(action="cancelPartitionBackfill")[-1].target == first
    ended = site.instance.get_backfill(first).with_status(BulkActionStatus.CANCELED)
    site.instance.update_backfill(ended)
    answer = graphql(
        site.signed_in("ada"),
        """mutation ($params: ReexecutionParams) { reexecutePartitionBackfill(
            reexecutionParams: $params) { ... on LaunchBackfillSuccess { backfillId }
            ... on PythonError { message } } }""",
        params={"parentRunId": first, "strategy": "ALL_STEPS"},
    )
    second = answer.json()["data"]["reexecutePartitionBackfill"]["backfillId"]
    assert tags(second)[BY] == "ada"
    assert tags(first)[BY] == "otto"


def test_what_a_code_server_says_of_a_run_s_end_is_not_inherited() -> None:
    assert stamped({INTERRUPTED_TAG: "x"}, "ann") == {BY: "ann"}


def test_what_nobody_launched_here_carries_no_name(site: Site) -> None:
    run = site.instance.add_run(DagsterRun(job_name="talk"))
    assert BY not in run.tags


def test_a_mutation_that_fails_is_recorded_as_such(site: Site) -> None:
    launched = graphql(
        site.signed_in("otto"),
        LAUNCH,
        params={"selector": {**JOB, "pipelineName": "nothing"}, "runConfigData": "{}"},
    )
    assert launched.json()["data"]["launchRun"]["__typename"] != "LaunchRunSuccess"
    entry = site.audit(action="launchRun")[-1]
    assert entry.allowed
    assert entry.target == "nothing"
    assert "NotFound" in entry.detail["failed"]
    graphql(site.signed_in("otto"), TERMINATE, id="no-such-run\nforged line")
    entry = site.audit(action="terminateRun")[-1]
    assert entry.target == "no-such-run?forged line"


def test_a_launch_that_is_refused_for_its_configuration_is_recorded_as_such(site: Site) -> None:
    params = {"selector": JOB, "runConfigData": '{"nothing": 1}'}
    answer = graphql(site.signed_in("otto"), LAUNCH, params=params)
    assert answer.json()["data"]["launchRun"]["__typename"] == "RunConfigValidationInvalid"
    entry = site.audit(action="launchRun")[-1]
    assert (entry.allowed, entry.target) == (True, "talk")
    assert entry.detail == {"failed": "RunConfigValidationInvalid"}


def test_only_a_run_that_was_ended_says_who_ended_it(site: Site) -> None:
    ended = site.instance.add_run(DagsterRun(job_name="talk", status=DagsterRunStatus.SUCCESS))
    running = launch(site.signed_in("otto"))
    graphql(
        site.signed_in("otto"),
        "mutation ($ids: [String!]!) { terminateRuns(runIds: $ids) { __typename } }",
        ids=[ended.run_id, running["id"], "no-such-run"],
    )
    assert tags_of(site, running["id"])[ENDED] == "otto"
    assert ENDED not in tags_of(site, ended.run_id)
    entry = site.audit(action="terminateRuns")[-1]
    assert entry.target == f"{ended.run_id}, {running['id']}, no-such-run"
    assert entry.detail == {"failed": "TerminateRunFailure, RunNotFoundError"}


def test_what_an_admin_changes_is_recorded_with_what_it_became(site: Site) -> None:
    ada = site.signed_in("ada")
    graphql(
        ada,
        """mutation ($keys: [String!]!, $selector: RepositorySelector!) {
            setConcurrencyLimit(concurrencyKey: "warehouse", limit: 3)
            deleteDynamicPartitions(partitionsDefName: "days", partitionKeys: $keys,
                repositorySelector: $selector) { __typename }
            stopSensor(id: "an-id") { __typename }
            reloadRepositoryLocation(repositoryLocationName: "shop") { __typename } }""",
        keys=["a", "b"],
        selector=REPOSITORY,
    )
    entries = {entry.action: entry for entry in site.audit(actor="ada")[-4:]}
    limit, partitions = entries["setConcurrencyLimit"], entries["deleteDynamicPartitions"]
    assert (limit.target, limit.detail) == ("warehouse", {"limit": 3})
    assert (partitions.target, partitions.detail["partitions"]) == ("days", "a, b")
    assert entries["stopSensor"].target == "an-id"
    assert entries["reloadRepositoryLocation"].target == "shop"


def test_what_cannot_be_recorded_is_not_done(site: Site) -> None:
    before = site.instance.get_runs_count()
    with site.engine.begin() as connection:
        connection.exec_driver_sql("alter table apollo_audit rename to elsewhere")
    try:
        answer = graphql(
            site.signed_in("otto"), LAUNCH, params={"selector": JOB, "runConfigData": "{}"}
        )
    finally:
        with site.engine.begin() as connection:
            connection.exec_driver_sql("alter table elsewhere rename to apollo_audit")
    assert answer.status_code == 503
    assert "the audit log cannot be written" in answer.text
    assert site.instance.get_runs_count() == before


def test_what_came_of_a_launch_may_be_lost_but_not_the_launch(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "update", lambda _table: (_ for _ in ()).throw(SQLAlchemyError()))
    run = launch(site.signed_in("otto"))
    assert site.audit(action="launchRun")[-1].target == "talk"
    assert run[BY] == "otto"
    assert "stays as it is" in caplog.text


def test_starting_a_schedule_is_recorded_by_name(site: Site) -> None:
    answer = graphql(
        site.signed_in("ada"),
        """mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) {
            __typename } }""",
        selector={**REPOSITORY, "scheduleName": "nightly"},
    )
    assert answer.json()["data"]["startSchedule"]["__typename"] == "ScheduleStateResult"
    assert site.audit(action="startSchedule")[-1].target == "nightly"


def test_the_reporter_of_an_event_is_in_it(site: Site) -> None:
    path = "/report_asset_materialization/customers"
    assert site.signed_in("otto").post(path).status_code == 200
    event = site.instance.get_latest_materialization_event(AssetKey("customers"))
    assert event.asset_materialization.tags["dagster/reporting_user"] == "otto"


def test_a_report_is_recorded_with_its_asset_wherever_that_is_said(site: Site) -> None:
    otto, path = site.signed_in("otto"), "/report_asset_materialization"
    for answer in (
        otto.post(f"{path}/customers"),
        otto.post(f"{path}/", json={"asset_key": ["a", "b"]}),
        otto.post(f"{path}/", params={"asset_key": '["c"]'}),
    ):
        assert answer.status_code == 200, answer.text
    entries = site.audit(actor="otto", action=f"POST {path}")[-3:]
    assert [it.target for it in entries] == [f"{path}/customers", f"{path}/ a/b", f"{path}/ c"]
    assert site.signed_in("vera").post(f"{path}/", json={"asset_key": "x"}).status_code == 403


def test_what_there_is_of_a_run_is_kept_by_no_cache(site: Site) -> None:
    run = launch(site.signed_in("otto"))
    answer = site.signed_in("vera").get(f"/download_debug/{run['id']}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_logs_are_downloaded_in_full_from_whatever_keeps_them(site: Site, tmp_path: Path) -> None:
    run = launch(site.signed_in("otto"))
    key = [run["id"], "compute_logs", "step"]
    text = b"".join(b"line %d of what was printed\n" % number for number in range(100_000))
    with site.instance.compute_log_manager.open_log_stream(key, ComputeIOType.STDOUT) as stream:
        stream.write(text)
    client = site.signed_in("vera")
    answer = client.get(f"/logs/{'/'.join(key)}/out")
    assert answer.status_code == 200
    assert len(text) > 2 * 1024 * 1024
    assert answer.content == text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert f'filename="{"__".join(key)}.out"' in answer.headers["content-disposition"]
    assert client.get(f"/logs/{'/'.join(key)}/err").status_code == 404
    for path in ("nothing/out", f"{'/'.join(key)}/exe", "out", "%2e%2e/%2e%2e/etc/passwd/out"):
        assert client.get(f"/logs/{path}").status_code == 404, path
    assert site.client().get(f"/logs/{'/'.join(key)}/out").status_code == 401
