"""What the runs of some tenants print."""

# ruff: noqa: ANN401 - what a view hands on is as the whole has it

from collections.abc import Sequence
from typing import Any

from dagster._core.storage.compute_log_manager import (
    CapturedLogData,
    CapturedLogMetadata,
    CapturedLogSubscription,
    ComputeLogManager,
)

from dagster_apollo.web.limits.runs import IsTheirs
from dagster_apollo.web.limits.scope import NotForLimitedError
from dagster_apollo.web.limits.views import refusing


@refusing(ComputeLogManager, "parse_cursor", "build_cursor", "build_log_key_for_run")
class LimitedLogs(ComputeLogManager):
    """The logs of some tenants' runs; those of schedules and sensors are not among them.

    Args:
        whole: all logs.
        is_theirs: whether an id is that of one of their runs, which a log's key begins with.
    """

    def __init__(self, whole: ComputeLogManager, is_theirs: IsTheirs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._whole = whole
        self._is_theirs = is_theirs

    def get_log_data(self, log_key: Sequence[str], *args: Any, **more: Any) -> CapturedLogData:
        """A part of a log."""
        return self._whole.get_log_data(self._theirs(log_key), *args, **more)

    def get_log_data_for_type(self, log_key: Sequence[str], *args: Any, **more: Any) -> Any:
        """A part of one stream of a log."""
        return self._whole.get_log_data_for_type(self._theirs(log_key), *args, **more)

    def get_log_metadata(self, log_key: Sequence[str]) -> CapturedLogMetadata:
        """Where a log is."""
        return self._whole.get_log_metadata(self._theirs(log_key))

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Whether a log is all there."""
        return self._whole.is_capture_complete(self._theirs(log_key))

    def subscribe(
        self, log_key: Sequence[str], cursor: str | None = None
    ) -> CapturedLogSubscription:
        """A log as it is written."""
        return self._whole.subscribe(self._theirs(log_key), cursor)

    def _theirs(self, log_key: Sequence[str]) -> Sequence[str]:
        apart = not {"", ".", ".."} & set(log_key) and not any("/" in part for part in log_key)
        if not log_key or not apart or not self._is_theirs(log_key[0]):
            raise NotForLimitedError("That log")
        return log_key
