"""Roles: what each may do, of all that there is to do."""

from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    build_client_schema,
    get_introspection_query,
)

from dagster_apollo.web.roles import ROLE_OF_MUTATION, Role
from tests.integration.front_door.site import REPOSITORY, Site, graphql, launch

pytestmark = pytest.mark.integration

SCALARS: dict[str, Any] = {
    "String": "x",
    "ID": "x",
    "Int": 1,
    "Float": 1.0,
    "Boolean": False,
    "RunConfigData": "{}",
    "JSONString": "{}",
}


def value_for(kind: Any) -> Any:
    """A value that passes validation for a type, made of required parts alone."""
    if isinstance(kind, GraphQLNonNull):
        return value_for(kind.of_type)
    if isinstance(kind, GraphQLList):
        return [value_for(kind.of_type)]
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        return {
            name: value_for(field.type)
            for name, field in kind.fields.items()
            if isinstance(field.type, GraphQLNonNull)
        }
    assert isinstance(kind, GraphQLScalarType)
    return SCALARS[kind.name]


def mutations(site: Site) -> dict[str, tuple[str, dict[str, Any]]]:
    """An operation and its variables for every mutation that the API itself names."""
    answer = graphql(site.signed_in("vera"), get_introspection_query())
    schema = build_client_schema(answer.json()["data"])
    found = {}
    for name, field in schema.mutation_type.fields.items():
        declared = ", ".join(f"${arg}: {it.type}" for arg, it in field.args.items())
        passed = ", ".join(f"{arg}: ${arg}" for arg in field.args)
        head = f"mutation ({declared})" if declared else "mutation"
        call = f"{name}({passed})" if passed else name
        leaf = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        selection = "" if isinstance(leaf, GraphQLScalarType) else " { __typename }"
        found[name] = (
            f"{head} {{ {call}{selection} }}",
            {arg: value_for(it.type) for arg, it in field.args.items()},
        )
    return found


def test_the_table_of_mutations_is_the_schema_s(site: Site) -> None:
    assert set(mutations(site)) == set(ROLE_OF_MUTATION)


def refused(site: Site, who: str, names: list[str]) -> list[str]:
    """Send each mutation, and return those that were refused for the role."""
    found = []
    known = mutations(site)
    client = site.signed_in(who)
    for name in names:
        query, values = known[name]
        answer = graphql(client, query, **values)
        body = answer.json()
        code = (body.get("errors") or [{}])[0].get("extensions", {}).get("code")
        if code == "FORBIDDEN":
            assert answer.status_code == 403
            assert not body["data"] or body["data"].get(name) is None
            found.append(name)
        else:
            # it got as far as Dagster: not a validation error, which would prove nothing
            assert answer.status_code in {200, 500}, (name, body)
    return found


def test_a_viewer_is_refused_every_mutation(site: Site) -> None:
    names = list(mutations(site))
    assert len(names) >= 40
    before = len(site.audit(actor="vera", allowed=False))
    assert refused(site, "vera", names) == names
    entries = site.audit(actor="vera", allowed=False)[before:]
    assert [entry.action for entry in entries] == names


def test_an_operator_is_refused_exactly_what_is_for_admins(site: Site) -> None:
    for_admins = [name for name in mutations(site) if ROLE_OF_MUTATION[name] is Role.ADMIN]
    assert len(for_admins) >= 20
    assert refused(site, "otto", for_admins) == for_admins


def test_an_operator_is_let_do_what_is_for_operators(site: Site) -> None:
    for_operators = [n for n in mutations(site) if ROLE_OF_MUTATION[n] is Role.OPERATOR]
    assert len(for_operators) >= 15
    assert refused(site, "otto", for_operators) == []


def test_an_admin_is_refused_nothing(site: Site) -> None:
    names = [name for name in mutations(site) if name != "shutdownRepositoryLocation"]
    assert refused(site, "ada", names) == []


def test_an_alias_and_a_second_mutation_are_guarded_like_the_first(site: Site) -> None:
    run = launch(site.signed_in("otto"))
    query = """mutation ($id: String!) {
        harmless: terminateRun(runId: $id) { __typename }
        also: deleteRun(runId: $id) { __typename } }"""
    answer = graphql(site.signed_in("otto"), query, id=run["id"])
    assert answer.status_code == 403
    assert site.instance.get_run_by_id(run["id"]) is not None


TRIAL = """query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
    ... on Schedule { futureTicks(limit: 2) { results { evaluationResult {
        runRequests { runKey } } } } } } }"""


def test_a_query_that_has_code_run_needs_an_operator_and_is_recorded(site: Site) -> None:
    action = "DryRunInstigationTick.evaluationResult"
    selector = {**REPOSITORY, "scheduleName": "nightly"}
    answer = graphql(site.signed_in("vera"), TRIAL, selector=selector)
    assert answer.status_code == 403
    ticks = answer.json()["data"]["scheduleOrError"]["futureTicks"]["results"]
    assert ticks == [{"evaluationResult": None}] * 2
    answer = graphql(site.signed_in("otto"), TRIAL, selector=selector)
    assert answer.status_code == 200
    ticks = answer.json()["data"]["scheduleOrError"]["futureTicks"]["results"]
    assert [len(tick["evaluationResult"]["runRequests"]) for tick in ticks] == [1, 1]
    entries = [(it.actor, it.allowed, it.target) for it in site.audit(action=action)]
    assert entries.count(("vera", False, "nightly")) == 2
    assert entries.count(("otto", True, "nightly")) == 2


PERMISSIONS = """{ permissions { permission value }
    workspaceOrError { ... on Workspace { locationEntries {
        permissions { permission value } } } } }"""


@pytest.mark.parametrize(
    ("who", "launches", "edits"),
    [("vera", False, False), ("otto", True, False), ("ada", True, True)],
)
def test_the_ui_is_told_what_it_may_offer(
    site: Site, who: str, launches: bool, edits: bool
) -> None:
    data = graphql(site.signed_in(who), PERMISSIONS).json()["data"]
    for permissions in (
        data["permissions"],
        data["workspaceOrError"]["locationEntries"][0]["permissions"],
    ):
        values = {item["permission"]: item["value"] for item in permissions}
        assert values["launch_pipeline_execution"] is launches
        assert values["terminate_pipeline_execution"] is launches
        assert values["start_schedule"] is edits
        assert values["delete_pipeline_run"] is edits


def test_a_token_has_the_role_that_it_was_made_with(site: Site) -> None:
    query, values = mutations(site)["startSchedule"]
    assert graphql(site.script(Role.OPERATOR), query, **values).status_code == 403
    assert graphql(site.script(Role.ADMIN), query, **values).status_code != 403
