"""A build costs Dagster less, and its event log is the one that stock Dagster writes."""

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dagster import (
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    JobDefinition,
)
from dagster._core.definitions.scoped_resources_builder import ScopedResourcesBuilder
from dagster._core.execution.context.system import StepExecutionContext
from dagster._serdes import serialize_value

from benchmarks.projects import make_project
from dagster_apollo.dbt import resource, step_costs
from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.runtime import start
from tests.integration.conftest import MakeEnvironment

pytestmark = pytest.mark.integration

MODELS = 20
_VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r'"(timestamp|storage_id|value|duration_ms)": ?[0-9.]+'), r'"\1": N'),
    (re.compile(r'\["dagster/input_event_pointer/([^"]+)", "\d+"\]'), r"pointer \1"),
    (re.compile(r'"dagster/input_event_pointer/([^"]+)": "\d+"'), r"pointer \1"),
    (re.compile(r'"(log_key|file_key)": "[a-z]+"'), "FILE"),
    (re.compile(r"\b\d+(\.\d+)?(ms|s)\b"), "TIME"),
    (re.compile(r'"pid": ?"?\d+"?|pid: \d+|\(pid: \d+\)'), "PID"),
)


@pytest.fixture(scope="module")
def definitions(
    apollo_env: MakeEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Definitions]:
    """A project in which a model fails, some are skipped, one test fails and another warns."""
    tenants = tmp_path_factory.mktemp("costs") / "tenants"
    project = make_project(tenants / "dbt_costs", MODELS, tests_per_model=2)
    (project / "models" / "broken.sql").write_text("select 1 / 'x' as id, {{ ref('model_00000') }}")
    (project / "models" / "after.sql").write_text("select * from {{ ref('broken') }}")
    (project / "tests").mkdir()
    (project / "tests" / "fails.sql").write_text("select * from {{ ref('model_00019') }}")
    (project / "tests" / "warns.sql").write_text(
        "{{ config(severity='warn') }} select * from {{ ref('model_00001') }}"
    )
    env = apollo_env(tenants, DBT_THREADS="1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PROFILES_DIR", "")
        patch.setenv("DAGSTER_HOME", env["DAGSTER_HOME"])
        yield build_definitions(start(environ=env))


def build(definitions: Definitions) -> list[Any]:
    """The event log of one build."""
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("costs_build")
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        return list(instance.all_logs(result.run_id))


def plain(entry: Any) -> str:
    text = serialize_value(entry)
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def count_calls(patch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what Dagster and dagster-dbt do for a run."""
    # imported once Apollo has imported dagster-dbt in its own way (stock.py)
    message = importlib.import_module("dagster_dbt.core.dbt_cli_event").DbtCliEventMessage
    calls: Counter[str] = Counter()
    owner: Any
    for owner, name in (
        (AssetsDefinition, "asset_and_check_keys"),
        (StepExecutionContext, "get_output_asset_keys"),
        (StepExecutionContext, "for_type"),
        (ScopedResourcesBuilder, "build"),
        (JobDefinition, "get_node"),
        (message, "_get_result_check_keys"),
        (message, "_get_column_schema_metadata"),
    ):
        stock: Any = getattr(owner, name)
        is_property = isinstance(stock, property)
        call = stock.fget if is_property else stock

        def counted(*given: Any, call: Callable[..., Any] = call, name: str = name) -> Any:
            calls[name] += 1
            return call(*given)

        patch.setattr(owner, name, property(counted) if is_property else counted)
    return calls


@dataclass
class Built:
    events: list[Any]
    calls: Counter[str]


@pytest.fixture(scope="module")
def stock(definitions: Definitions) -> Built:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "_KNOWN", ("0.0.",))
        patch.setattr(resource, "_share", lambda _event, _shared: None)
        calls = count_calls(patch)
        return Built(build(definitions), calls)


@pytest.fixture(scope="module")
def ours(definitions: Definitions, stock: Built) -> Built:
    """Stock comes first: a job keeps what it remembers, and the first run loads it, too."""
    with pytest.MonkeyPatch.context() as patch:
        calls = count_calls(patch)
        return Built(build(definitions), calls)


def test_the_event_log_is_that_of_stock_dagster(ours: Built, stock: Built) -> None:
    kinds = Counter(it.dagster_event_type for it in stock.events if it.dagster_event_type)
    assert kinds[DagsterEventType.ASSET_MATERIALIZATION] == MODELS
    assert kinds[DagsterEventType.ASSET_CHECK_EVALUATION] == 2 * MODELS + 2
    assert kinds[DagsterEventType.STEP_FAILURE] == 1
    # the order in which dbt takes tests that are ready at one time is not always the same
    assert sorted(map(plain, ours.events)) == sorted(map(plain, stock.events))


def test_nothing_is_made_anew_for_each_output_that_is_the_same_for_all(
    ours: Built, stock: Built
) -> None:
    assert len(stock.calls) == 7
    for name, count in stock.calls.items():
        assert count > MODELS, name  # for each model, or each test, or each output
        assert ours.calls[name] < count / 5, name  # what is left, the plan of the run is made of
