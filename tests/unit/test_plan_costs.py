"""A plan is the one that Dagster makes, and its cost does not grow with the square of its nodes."""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import AssetCheckSpec, AssetsDefinition, AssetSpec, Definitions, multi_asset
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan import plan
from dagster._core.snap import snapshot_from_execution_plan
from dagster._serdes import serialize_value

from dagster_apollo.dbt import step_costs
from dagster_apollo.dbt.plan_costs import plan_in_proportion

pytestmark = pytest.mark.unit


def planned(assets: int, patch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The plan of a step with so many assets and checks, and how often the set of them was made."""

    @multi_asset(
        specs=[AssetSpec(f"asset_{number}", skippable=True) for number in range(assets)],
        check_specs=[AssetCheckSpec("check", asset=f"asset_{number}") for number in range(assets)],
    )
    def everything() -> Iterator[Any]:
        yield from ()

    job = Definitions(assets=[everything]).resolve_implicit_global_asset_job_def()
    made = 0
    keys: Any = AssetsDefinition.asset_and_check_keys

    def counted(definition: AssetsDefinition) -> Any:
        nonlocal made
        made += 1
        return keys.fget(definition)

    patch.setattr(AssetsDefinition, "asset_and_check_keys", property(counted))
    snapshot = snapshot_from_execution_plan(create_execution_plan(job), "job")
    patch.undo()
    return serialize_value(snapshot), made


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dagster's own function, whatever another test has installed."""
    create = plan.create_step_outputs
    plan.create_step_outputs = getattr(create, "__wrapped__", create)
    yield
    plan.create_step_outputs = create


@pytest.mark.usefixtures("stock")
def test_a_plan_costs_the_same_for_each_output(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, each = planned(20, monkeypatch)
    assert each >= 40  # once for each asset and each check
    plan_in_proportion()
    once = plan.create_step_outputs
    plan_in_proportion()
    assert plan.create_step_outputs is once
    found, made = planned(20, monkeypatch)
    assert found == expected
    assert made == planned(10, monkeypatch)[1] <= 2


@pytest.mark.usefixtures("stock")
def test_another_release_of_dagster_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plan_in_proportion()
    monkeypatch.setattr(step_costs, "_KNOWN", ("0.0.",))
    with pytest.MonkeyPatch.context() as patch:
        assert planned(20, patch)[1] >= 40


@pytest.mark.usefixtures("stock")
def test_a_name_that_moved_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(plan, "create_step_outputs")
    plan_in_proportion()
    assert not hasattr(plan, "create_step_outputs")
