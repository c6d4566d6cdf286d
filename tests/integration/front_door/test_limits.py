"""People who are limited to tenants: what they may not see is in no answer."""

import json
import re
import uuid
from collections.abc import Iterator, Set
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance
from graphql import GraphQLSchema, build_client_schema, get_introspection_query
from starlette.testclient import TestClient

from dagster_apollo.services.contract import CodeServer
from dagster_apollo.web.limits.fields import QUERIES, REFUSED_QUERIES, SUBSCRIPTIONS
from dagster_apollo.web.limits.mutations import LOOKS
from dagster_apollo.web.roles import ROLE_OF_MUTATION, Role
from tests.integration.front_door import tenants_location
from tests.integration.front_door.conftest import ServeSite
from tests.integration.front_door.schema_walk import Walk, bare
from tests.integration.front_door.site import Site, graphql, websocket

pytestmark = pytest.mark.integration

OTHERS = ("globex", "hooli", "initech")
DEPTH = 2
ROUNDS = 5
SKIPPED = frozenset(
    {
        "AssetMaterializationPlannedEvent.pipelineName",
        "AssetNode.dataVersionByPartition",
        "AssetNode.staleCausesByPartition",
        "AssetNode.staleStatusByPartition",
        "DaemonHealth.daemonStatus",
        "DryRunInstigationTick.evaluationResult",
        "InstigationState.tick",
        "Instance.concurrencyLimit",
        "Repository.usedSolid",
    }
)
"""Fields that fail for everybody here, or that an operator is needed for."""
NEEDED = {
    "partitionSetOrError": {"partitionSetName"},
    "pipelineSnapshotOrError": {"activePipelineSelector"},
    "runTagsOrError": {"tagKeys"},
}
"""Arguments that the schema does not ask for, and the resolvers do."""
SHOWN = {"assetsOrError", "assetNodes", "repositoriesOrError", "runsOrError", "runTagsOrError"}
NUMBER = re.compile("Internal error [0-9a-f]{8}")


@pytest.fixture(scope="module")
def site(serve_site: ServeSite, code_servers_of_tenants: tuple[CodeServer, ...]) -> Iterator[Site]:
    with serve_site(servers=code_servers_of_tenants) as serving:
        yield serving


@pytest.fixture(scope="module")
def runs(site: Site) -> dict[str, str]:
    """The ids of runs that were executed: of jobs, of selections, of two tenants."""
    defs, apart = tenants_location.shared, tenants_location.apart
    whole = defs.resolve_implicit_global_asset_job_def()
    keys = {name: AssetKey([name, "orders"]) for name in ("acme", "globex")}
    return {
        **{name: run_of(defs.resolve_job_def(f"{name}_build"), site.instance) for name in keys},
        **{
            f"{name}_selected": run_of(whole, site.instance, asset_selection=[key])
            for name, key in keys.items()
        },
        "initech": run_of(apart.resolve_job_def("initech_build"), site.instance),
        "both": run_of(whole, site.instance, asset_selection=list(keys.values())),
        "all": run_of(whole, site.instance),
    }


def run_of(job: Any, instance: DagsterInstance, **more: Any) -> str:
    run_id: str = job.execute_in_process(instance=instance, raise_on_error=False, **more).run_id
    return run_id


@pytest.fixture(scope="module")
def schema(site: Site) -> GraphQLSchema:
    answer = graphql(site.script(Role.VIEWER), get_introspection_query())
    return build_client_schema(answer.json()["data"])


def arguments(tenant: str, location: str, run: str) -> dict[str, str]:
    """Literals for the arguments of queries and fields: about one tenant's things."""
    repository = f'repositoryLocationName: "{location}", repositoryName: "__repository__"'
    job = f'{{{repository}, pipelineName: "{tenant}_build"}}'
    key = f'{{path: ["{tenant}", "orders"]}}'
    return {
        "repositoryID": '"origin:selector"',
        "repositorySelector": f"{{{repository}}}",
        "name": f'"{location}"',
        "params": job,
        "pipelineSelector": job,
        "activePipelineSelector": job,
        "pipeline": job,
        "selector": job,
        "graphOrError.selector": f'{{{repository}, graphName: "{tenant}_build"}}',
        "pipelineName": f'"{tenant}_build"',
        "scheduleSelector": f'{{{repository}, scheduleName: "{tenant}_build_schedule"}}',
        "sensorSelector": f'{{{repository}, sensorName: "{tenant}_watch"}}',
        "instigationSelector": f'{{{repository}, name: "{tenant}_build_schedule"}}',
        "resourceSelector": f'{{{repository}, resourceName: "{tenant}_dbt"}}',
        "partitionSetName": f'"{tenant}_build_partition_set"',
        "runId": f'"{run}"',
        "mode": '"default"',
        "assetKey": key,
        "assetKeys": f"[{key}]",
        "prefix": f'["{tenant}"]',
        "group": f'{{{repository}, groupName: "{tenant}_marts"}}',
        "checkName": f'"{tenant}_orders_are_there"',
        "limit": "20",
        "logKey": f'["{run}", "compute_logs", "{tenant}__orders"]',
        "tickIds": "[1]",
        "tickId": "1",
        "backfillId": '"none"',
        "tagKeys": '["apollo/tenant", "dagster/run_key"]',
        "valuePrefix": f'"{tenant}"',
        "view": "ROOTS",
        "filter": f'{{tags: [{{key: "apollo/tenant", value: "{tenant}"}}]}}',
    }


def query_of(
    schema: GraphQLSchema,
    name: str,
    given: dict[str, str],
    depth: int,
    skipped: Set[str],
    *,
    every: bool = False,
) -> str:
    """A query of a field, with every argument that is known, or with what it needs."""
    assert schema.query_type is not None
    field = schema.query_type.fields[name]
    values = {arg: given.get(f"{name}.{arg}", given.get(arg)) for arg in field.args}
    needed = {arg for arg, it in field.args.items() if str(it.type).endswith("!")}
    needed |= NEEDED.get(name, set())
    called = [arg for arg in values if values[arg] and (every or arg in needed)]
    assert needed <= set(called), (name, needed)
    text = ", ".join(f"{arg}: {values[arg]}" for arg in called)
    below = Walk(schema, given, skipped).selection(bare(field.type), depth)
    return f"{{ {name}{f'({text})' if text else ''} {below} }}"


def test_every_field_of_the_schema_is_allowed_or_refused(schema: GraphQLSchema) -> None:
    assert schema.query_type is not None
    assert schema.subscription_type is not None
    assert set(schema.query_type.fields) == QUERIES | REFUSED_QUERIES
    assert not QUERIES & REFUSED_QUERIES
    assert set(schema.subscription_type.fields) == SUBSCRIPTIONS
    assert LOOKS.keys() <= ROLE_OF_MUTATION.keys()


def test_no_answer_names_another_tenant(
    site: Site, runs: dict[str, str], schema: GraphQLSchema
) -> None:
    limited, everything = site.script(Role.VIEWER, "acme"), site.script(Role.VIEWER)
    given = arguments("acme", "shared", runs["acme"])
    told: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    empty = set()
    skipped = set(SKIPPED)
    for name in sorted(QUERIES):
        for _ in range(ROUNDS):
            query = query_of(schema, name, given, DEPTH, skipped)
            answer = graphql(limited, query)
            if not (failing := errors_of(answer)):
                break
            # what fails for everybody empties the answer, and is left out of it
            by_itself = failing.keys() - errors_of(graphql(everything, query)).keys()
            if by_itself:
                refused[name] = [failing[it] for it in by_itself]
            skipped |= failing.keys()
        if names := [other for other in OTHERS if other in answer.text]:
            told[name] = [*names, around(answer.text, names[0])]
        if "acme" not in answer.text:
            empty.add(name)
    assert told == {}
    assert refused == {}
    assert skipped == SKIPPED, "each takes another round"
    for name in SHOWN:
        text = graphql(everything, query_of(schema, name, given, DEPTH, skipped)).text
        assert any(other in text for other in OTHERS), f"{name} would have told"
    assert not empty & SHOWN


def errors_of(answer: Any) -> dict[str, str]:
    """What failed, by the field as Type.field, and how."""
    return {
        [it for it in error["path"] if isinstance(it, str)][-1].replace("_", ".", 1): str(error)
        for error in answer.json().get("errors", ())
        if error.get("path")
    }


def around(text: str, name: str) -> str:
    return text[max(0, text.index(name) - 200) : text.index(name) + 50]


@pytest.mark.parametrize(
    ("other", "location", "nobody_s"),
    [("globex", "shared", "shared"), ("initech", "initech", "nobody")],
)
def test_another_tenant_s_things_are_as_things_that_are_not(
    site: Site,
    runs: dict[str, str],
    schema: GraphQLSchema,
    other: str,
    location: str,
    nobody_s: str,
) -> None:
    limited = site.script(Role.VIEWER, "acme")
    run, nothing = runs[other], str(uuid.uuid4())
    theirs = arguments(other, location, run)
    nobodys = arguments("nobody", nobody_s, nothing)
    differ = {}
    for name in sorted(QUERIES):
        found = graphql(limited, query_of(schema, name, theirs, 1, SKIPPED, every=True))
        missing = graphql(limited, query_of(schema, name, nobodys, 1, SKIPPED, every=True))
        expected = missing.text.replace("nobody", other).replace(nothing, run)
        same = NUMBER.sub("", found.text) == NUMBER.sub("", expected)
        if not same or found.status_code != missing.status_code:
            differ[name] = (found.text[:600], expected[:600])
    assert differ == {}


def test_a_field_that_nobody_has_looked_at_is_refused(site: Site) -> None:
    answer = graphql(site.script(Role.VIEWER, "acme"), "{ test { __typename } }")
    assert answer.status_code == 403
    assert "people who are limited to tenants" in answer.text


def runs_of(client: TestClient) -> set[str]:
    answer = graphql(client, "{ runsOrError { ... on Runs { results { runId } } } }")
    return {run["runId"] for run in answer.json()["data"]["runsOrError"]["results"]}


def test_runs_are_seen_by_whose_they_are(site: Site, runs: dict[str, str]) -> None:
    acme = runs_of(site.script(Role.VIEWER, "acme")) & set(runs.values())
    assert acme == {runs["acme"], runs["acme_selected"]}
    both = runs_of(site.script(Role.VIEWER, "acme", "globex")) & set(runs.values())
    assert both == acme | {runs["globex"], runs["globex_selected"]}
    assert runs_of(site.script(Role.VIEWER, "nobody")) == set()
    assert set(runs.values()) <= runs_of(site.script(Role.VIEWER))


LOGS = """subscription ($run: ID!) { pipelineRunLogs(runId: $run) { __typename
    ... on PipelineRunLogsSubscriptionFailure { message missingRunId } } }"""
CAPTURED = "subscription ($key: [String!]!) { capturedLogs(logKey: $key) { stdout } }"


def first(client: TestClient, query: str, **values: Any) -> str:
    """The first thing that a subscription says."""
    with websocket(client) as socket:
        socket.send_json({"type": "connection_init", "payload": {}})
        assert socket.receive_json()["type"] == "connection_ack"
        payload = {"query": query, "variables": values}
        socket.send_json({"type": "start", "id": "1", "payload": payload})
        while (said := socket.receive_json())["type"] in {"ka", "start_ack"}:
            pass
        return json.dumps(said)


def test_a_run_s_log_is_followed_by_whose_it_is(site: Site, runs: dict[str, str]) -> None:
    limited = site.script(Role.VIEWER, "acme")
    own = first(limited, LOGS, run=runs["acme"])
    assert "PipelineRunLogsSubscriptionSuccess" in own
    nothing = str(uuid.uuid4())
    unknown = first(limited, LOGS, run=nothing)
    for other in ("globex", "both", "all", "initech"):
        assert first(limited, LOGS, run=runs[other]) == unknown.replace(nothing, runs[other])
    key = [runs["globex"], "compute_logs", "x"]
    refused = first(limited, CAPTURED, key=key)
    assert refused == first(limited, CAPTURED, key=[nothing, "compute_logs", "x"])
    assert "is not available" in refused


def test_routes_that_know_no_tenants_are_refused(site: Site, runs: dict[str, str]) -> None:
    limited = site.script(Role.OPERATOR, "acme")
    nothing = str(uuid.uuid4())
    for run in (runs["globex"], runs["all"], nothing):
        answer = limited.get(f"/logs/{run}/compute_logs/x/out")
        assert (answer.status_code, answer.text) == (404, "There is no such log.")
    for path in (f"/download_debug/{runs['acme']}", "/notebook?path=x&repoLocName=shared"):
        assert limited.get(path).status_code == 403
    for kind in ("materialization", "check", "observation"):
        answer = limited.post(f"/report_asset_{kind}/acme/orders", json={})
        assert answer.status_code == 403
    for path in ("/server_info", "/", "/runs"):
        assert limited.get(path).status_code == 200


LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId tags { key value } } }
    ... on PythonError { message } } }"""
REPEAT = """mutation ($params: ReexecutionParams) {
    launchRunReexecution(reexecutionParams: $params) { __typename
        ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = """mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"""
INVALID = json.dumps({"resources": {"no": {}}})


def params(tenant: str, location: str = "shared", **more: Any) -> dict[str, Any]:
    selector = {
        "repositoryLocationName": location,
        "repositoryName": "__repository__",
        "pipelineName": f"{tenant}_build",
    }
    selector.update(more.pop("selector", {}))
    return {"selector": selector, "runConfigData": "{}", **more}


def orders(tenant: str) -> list[dict[str, list[str]]]:
    return [{"path": [tenant, "orders"]}]


def test_an_operator_of_a_tenant_runs_what_is_the_tenant_s(site: Site) -> None:
    limited = site.script(Role.OPERATOR, "acme")
    for selector in ({}, {"assetSelection": orders("acme")}):
        answer = graphql(limited, LAUNCH, params=params("acme", selector=selector))
        launched = answer.json()["data"]["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = launched["run"]
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["apollo/tenant"] == "acme"
        assert tags["apollo/launched_by"] == "token:script-operator-acme"
        ended = graphql(limited, TERMINATE, run=run["runId"]).json()["data"]["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess"
    again = {"parentRunId": run["runId"], "strategy": "ALL_STEPS"}
    repeated = graphql(limited, REPEAT, params=again).json()["data"]["launchRunReexecution"]
    assert repeated["__typename"] == "LaunchRunSuccess", repeated


@pytest.mark.parametrize(
    "wanted",
    [
        params("globex"),
        params("initech", "initech"),
        params("nobody"),
        params("acme", selector={"assetSelection": orders("globex")}),
        params("acme", selector={"pipelineName": "__ASSET_JOB"}),
        params(
            "acme",
            selector={"pipelineName": "__ASSET_JOB", "assetSelection": orders("globex")},
        ),
        params("acme", runConfigData=INVALID),
    ],
)
def test_an_operator_of_a_tenant_runs_nothing_else(site: Site, wanted: dict[str, Any]) -> None:
    before = runs_of(site.script(Role.VIEWER))
    answer = graphql(site.script(Role.OPERATOR, "acme"), LAUNCH, params=wanted)
    assert answer.status_code == 403
    assert not any(other in answer.text for other in OTHERS)
    assert runs_of(site.script(Role.VIEWER)) == before


def test_an_operator_of_a_tenant_ends_and_repeats_nothing_else(
    site: Site, runs: dict[str, str]
) -> None:
    limited = site.script(Role.OPERATOR, "acme")
    for run in (runs["globex"], runs["both"], str(uuid.uuid4())):
        assert graphql(limited, TERMINATE, run=run).status_code == 403
        again = {"parentRunId": run, "strategy": "ALL_STEPS"}
        assert graphql(limited, REPEAT, params=again).status_code == 403
        parent = params("acme", executionMetadata={"parentRunId": run, "rootRunId": run})
        assert graphql(limited, LAUNCH, params=parent).status_code == 403
    reload = "mutation { reloadWorkspace { __typename } }"
    assert graphql(limited, reload).status_code == 403


def test_the_audit_log_says_what_somebody_is_limited_to(site: Site) -> None:
    graphql(site.script(Role.OPERATOR, "acme"), "mutation { reloadWorkspace { __typename } }")
    entry = site.audit(action="reloadWorkspace")[-1]
    assert (entry.role, entry.allowed) == ("operator@acme", False)
