"""The shortcuts of a step, where Dagster is not the one they were made for."""

from types import SimpleNamespace
from typing import Any

import pytest
from dagster import AssetCheckResult, AssetKey

from dagster_apollo.dbt import step_costs
from dagster_apollo.dbt.step_costs import StepCosts

pytestmark = pytest.mark.unit

RESULT = AssetCheckResult(passed=True, asset_key=AssetKey("a"), check_name="c")


def test_a_name_that_moved_leaves_all_to_dagster(caplog: pytest.LogCaptureFixture) -> None:
    context: Any = SimpleNamespace(op_execution_context=SimpleNamespace())
    assert list(StepCosts(context).events(RESULT)) == [RESULT]
    assert "Dagster has moved _step_execution_context" in caplog.text


def test_another_release_of_dagster_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(step_costs, "dagster_version", "1.14.0")
    context: Any = None  # not looked at
    assert list(StepCosts(context).events(RESULT)) == [RESULT]
    assert "Dagster 1.14.0 is not known" in caplog.text
