"""Following logs while they are written: one thread looks for all who follow, once a second."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from dagster._core.storage.compute_log_manager import (
    CapturedLogData,
    CapturedLogSubscription,
    ComputeLogManager,
)

from dagster_apollo.instance.postgres_logs.store import ComputeLogError, LogState

_LOOK_EVERY_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_log = logging.getLogger("apollo.compute_logs")


class LogSubscription(CapturedLogSubscription):
    """Somebody who follows a log.

    Dagster 1.13 asks whether a log is complete after it has fetched, and so misses what came in
    between; and it ends a subscription only when more comes after the end. Here it is the other way
    round, and an empty message says that it is the last.
    """

    def __init__(
        self,
        manager: ComputeLogManager,
        log_key: Sequence[str],
        cursor: str | None,
        followers: "Followers",
    ) -> None:
        super().__init__(manager, log_key, cursor)
        self._followers = followers
        self._seen: LogState | None = None

    def __call__(self, observer: Callable[[CapturedLogData], None] | None) -> "LogSubscription":
        """Begin: give what there is, and follow unless that is all."""
        self._observer = observer
        self._followers.begin(self)
        return self

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to give any more, or nobody to give it to."""
        return self.is_complete or self._observer is None

    def advance(self, state: LogState) -> None:
        """Give what has come since the last time, if anything has."""
        if state == self._seen or self.is_over:
            return
        try:
            self.fetch()
            self._seen = state
            if state.is_complete:
                self.complete()
        except RuntimeError:  # the observer's event loop is closed
            self._observer = None

    def complete(self) -> None:
        """Tell the observer that no more will come."""
        observer, self.is_complete = self._observer, True
        if observer:
            observer(CapturedLogData(self.log_key, cursor=self._cursor))


class _States(Protocol):
    def __call__(self, log_keys: Sequence[Sequence[str]]) -> list[LogState]: ...


class Followers:
    """All subscriptions of a process.

    Args:
        states: tells how far logs have got, in one statement for all.
    """

    def __init__(self, states: _States) -> None:
        self._states = states
        self._all: list[LogSubscription] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, subscription: LogSubscription) -> None:
        """Give a new subscription what there is, and look after it from now on.

        Raises:
            ComputeLogError: the logs cannot be read.
        """
        subscription.advance(self._states([subscription.log_key])[0])
        with self._lock:
            if subscription.is_over:
                return
            self._all.append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="compute-log-followers", daemon=True
                )
                self._thread.start()

    def end(self, subscription: CapturedLogSubscription) -> None:
        """Forget a subscription."""
        with self._lock:
            self._all = [it for it in self._all if it is not subscription]

    def close(self) -> None:
        """Look after nobody any more."""
        self._ended.set()

    def _look(self) -> None:
        pause = _LOOK_EVERY_SECONDS
        while not self._ended.wait(pause):
            with self._lock:
                self._all = [it for it in self._all if not it.is_over]
                if not self._all:
                    self._thread = None
                    return
                current = list(self._all)
            try:
                states = self._states([it.log_key for it in current])
                for subscription, state in zip(current, states, strict=True):
                    subscription.advance(state)
                pause = _LOOK_EVERY_SECONDS
            except ComputeLogError as error:
                _log.warning("Following compute logs: %s", error)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
