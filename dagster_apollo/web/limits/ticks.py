"""The schedules and sensors of some tenants: whether they run, and their ticks."""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

from collections.abc import Mapping, Sequence
from typing import Any

from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick
from dagster._core.storage.schedules import ScheduleStorage

from dagster_apollo.web.limits.runs import IsTheirs
from dagster_apollo.web.limits.views import passed, refusing


@refusing(ScheduleStorage)
class LimitedTicks(ScheduleStorage):
    """What is stored of schedules and sensors that some tenants have now.

    Args:
        whole: all of it.
        is_theirs: whether a selector's id is that of a schedule or sensor in their workspace.
    """

    def __init__(self, whole: ScheduleStorage, is_theirs: IsTheirs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._whole = whole
        self._is_theirs = is_theirs

    supports_batch_queries = passed("supports_batch_queries")

    @property
    def supports_auto_materialize_asset_evaluations(self) -> bool:
        """No: an evaluation is of all tenants' conditions."""
        return False

    def get_auto_materialize_asset_evaluations(self, *_: Any, **__: Any) -> Sequence[Any]:
        """None."""
        return []

    def all_instigator_state(self, *args: Any, **more: Any) -> Sequence[InstigatorState]:
        """Theirs."""
        found = self._whole.all_instigator_state(*args, **more)
        return [state for state in found if self._is_theirs(state.selector_id)]

    def get_instigator_state(self, origin_id: str, selector_id: str) -> InstigatorState | None:
        """Whether one of theirs runs."""
        if not self._is_theirs(selector_id):
            return None
        state = self._whole.get_instigator_state(origin_id, selector_id)
        return state if state and self._is_theirs(state.selector_id) else None

    def get_ticks(
        self, origin_id: str, selector_id: str, *args: Any, **more: Any
    ) -> Sequence[InstigatorTick]:
        """The ticks of one of theirs."""
        if not self._is_theirs(selector_id):
            return []
        return self._those(self._whole.get_ticks(origin_id, selector_id, *args, **more))

    def get_tick_summaries(
        self, origin_id: str, selector_id: str, *args: Any, **more: Any
    ) -> Sequence[Any]:
        """The ticks of one of theirs, in short."""
        if not self._is_theirs(selector_id):
            return []
        return self._whole.get_tick_summaries(origin_id, selector_id, *args, **more)

    def get_batch_ticks(
        self, selector_ids: Sequence[str], *args: Any, **more: Any
    ) -> Mapping[str, Sequence[InstigatorTick]]:
        """The ticks of several."""
        theirs = [it for it in selector_ids if self._is_theirs(it)]
        found = self._whole.get_batch_ticks(theirs, *args, **more) if theirs else {}
        return {key: self._those(ticks) for key, ticks in found.items()}

    def get_ticks_by_ids(self, tick_ids: Sequence[int]) -> Sequence[InstigatorTick]:
        """Theirs of some ticks."""
        return self._those(self._whole.get_ticks_by_ids(tick_ids))

    def _those(self, ticks: Sequence[InstigatorTick]) -> list[InstigatorTick]:
        return [tick for tick in ticks if self._is_theirs(tick.selector_id)]
