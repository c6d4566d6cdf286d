"""What the audit log says a mutation is about, and what came of it, against the schema itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLUnionType,
)

from dagster_apollo.web.roles import ROLE_OF_FIELD
from dagster_apollo.web.targets import _SUCCESSES, details, failures, kind_of, targets

pytestmark = pytest.mark.unit

SCHEMA = create_schema().graphql_schema
assert SCHEMA.mutation_type
MUTATIONS = SCHEMA.mutation_type.fields

ABOUT_NOTHING = {"logTelemetry", "setAutoMaterializePaused"}
"""Mutations with arguments that are about the whole instance, or about nothing of it."""


def example(kind: Any, name: str, seen: tuple[str, ...] = ()) -> Any:
    """A value for an argument, with everything that it can hold, named as resolvers get it."""
    if isinstance(kind, GraphQLNonNull):
        return example(kind.of_type, name, seen)
    if isinstance(kind, GraphQLList):
        return [example(kind.of_type, name, seen)]
    if isinstance(kind, GraphQLInputObjectType):
        return {
            field.out_name or key: example(field.type, key, (*seen, kind.name))
            for key, field in kind.fields.items()
            if kind.name not in seen
        }
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    assert isinstance(kind, GraphQLScalarType)
    return {"Boolean": True, "Int": 7, "Float": 7.0}.get(kind.name, f"the {name}")


def calls(name: str) -> Iterator[dict[str, Any]]:
    """The least that each mutation is called with: what is required, or else any one argument."""
    values = {it.out_name or key: example(it.type, key) for key, it in MUTATIONS[name].args.items()}
    required = {
        it.out_name or key
        for key, it in MUTATIONS[name].args.items()
        if isinstance(it.type, GraphQLNonNull)
    }
    if required:
        yield {key: values[key] for key in required}
    else:
        yield from ({key: value} for key, value in values.items())


@pytest.mark.parametrize("name", [name for name, field in MUTATIONS.items() if field.args])
def test_every_mutation_that_is_about_something_says_about_what(name: str) -> None:
    for arguments in calls(name):
        assert bool(list(targets(arguments))) is (name not in ABOUT_NOTHING), arguments


def test_what_is_only_the_job_s_is_in_no_entry() -> None:
    kept = " ".join(
        f"{list(targets(arguments))} {details(arguments)}"
        for field in MUTATIONS.values()
        for arguments in [{key: example(it.type, key) for key, it in field.args.items()}]
    )
    assert "the runId" in kept
    for name in (
        "runConfigData",
        "value",
        "attributes",
        "serializedMetadata",
        "metadata",
        "cursor",
    ):
        assert f"the {name}" not in kept, name


def test_a_mutation_s_targets_are_found_in_its_arguments() -> None:
    arguments = {
        "runIds": ["a", "b"],
        "params": {
            "selector": {
                "pipelineName": "job",
                "repositoryLocationName": "shop",
                "assetSelection": [{"path": ["x", "y"]}],
            },
            "executionMetadata": {"tags": [{"key": "runId", "value": "no"}]},
            "runConfigData": {"path": "/secret", "runId": "secret"},
        },
        "limit": 3,
    }
    assert list(targets(arguments)) == ["a", "b", "job", "x/y"]
    assert list(targets({"repository_location_name": "shop"})) == ["shop"]


def test_how_something_is_to_be_done_is_a_detail() -> None:
    assert details({"concurrencyKey": "warehouse", "limit": 3}) == {"limit": 3}
    assert details({"paused": False}) == {"paused": False}
    assert details({"partition_keys": ["a", "b"], "partitionsDefName": "days"}) == {
        "partitions": "a, b"
    }
    ranges = [{"assetKey": {"path": ["x"]}, "partitions": {"range": {"start": "1", "end": "9"}}}]
    assert details({"assetPartitionRanges": ranges}) == {"partitions": "1...9"}
    many = details({"partitionKeys": [str(number) for number in range(5000)]})["partitions"]
    assert many.startswith("0, 1, ")
    assert many.endswith("19, and 4980 more")


def test_only_what_says_that_something_was_done_counts_as_done() -> None:
    results = {
        member.name
        for field in MUTATIONS.values()
        for kind in [field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type]
        if isinstance(kind, GraphQLUnionType)
        for member in kind.types
    }
    assert results >= _SUCCESSES
    refused = results - _SUCCESSES
    assert {"RunConfigValidationInvalid", "RunConflict", "TerminateRunFailure"} <= refused
    for name in refused:
        assert name.endswith(
            ("Error", "NotFound", "Failure", "Invalid", "Conflict", "NotSupported")
        ), f"is {name} a success?"


def test_the_name_of_a_result_s_class_is_the_one_in_the_api() -> None:
    for name in _SUCCESSES:
        class_ = SCHEMA.type_map[name].graphene_type  # type: ignore[attr-defined]
        assert kind_of(object.__new__(class_)) == name


class GrapheneTerminateRunsResult:
    def __init__(self, *results: object) -> None:
        self.terminateRunResults = results


def test_a_failure_within_a_list_of_results_is_one() -> None:
    done = object.__new__(SCHEMA.type_map["TerminateRunSuccess"].graphene_type)  # type: ignore[attr-defined]
    lost = object.__new__(SCHEMA.type_map["RunNotFoundError"].graphene_type)  # type: ignore[attr-defined]
    assert failures(GrapheneTerminateRunsResult(done, done)) == []
    assert failures(GrapheneTerminateRunsResult(done, lost, lost)) == ["RunNotFoundError"]
    assert failures(ValueError()) == ["ValueError"]
    assert failures(False) == []


@pytest.mark.parametrize(("kind", "name"), list(ROLE_OF_FIELD))
def test_a_guarded_field_is_one_of_the_schema_s(kind: str, name: str) -> None:
    assert SCHEMA.type_map[kind].fields[name].resolve  # type: ignore[attr-defined]
    assert SCHEMA.type_map[kind].graphene_type.__name__ == f"Graphene{kind}"  # type: ignore[attr-defined]
