"""Dagster's compute logs in the instance's Postgres database."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from dagster._core.storage.compute_log_manager import (
    CapturedLogContext,
    CapturedLogMetadata,
    CapturedLogSubscription,
    ComputeIOType,
    ComputeLogManager,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from pydantic import SecretStr

from dagster_apollo.instance.postgres_logs.capture import capture
from dagster_apollo.instance.postgres_logs.collector import Order
from dagster_apollo.instance.postgres_logs.shipper import LogStream
from dagster_apollo.instance.postgres_logs.store import ComputeLogStore
from dagster_apollo.instance.postgres_logs.subscriptions import Followers, LogSubscription
from dagster_apollo.instance.postgres_logs.window import Window, key_text


class PostgresComputeLogManager(ComputeLogManager, ConfigurableClass):
    """Keeps what runs, schedules and sensors print where every service can read it.

    Args:
        uri: the database, with Apollo's tables.
        max_bytes: what is kept of each stream of a log; half of it is its beginning, half its end.
        inst_data: the part of dagster.yaml that this was made from.
    """

    def __init__(
        self, uri: SecretStr, max_bytes: int, inst_data: ConfigurableClassData | None = None
    ) -> None:
        self._uri = uri
        self._window = Window(max_bytes)
        self._inst_data = inst_data
        self._store = ComputeLogStore(uri, self._window)
        self._followers = Followers(self._store.states)

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The part of dagster.yaml that this was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: see `ComputeLogs`, which makes it."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PostgresComputeLogManager":
        """Not made from dagster.yaml, where the URI would have to be."""
        raise NotImplementedError("dagster.yaml names dagster_apollo.instance.compute_logs")

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Store what this process and its children write to stdout and stderr."""
        order = Order(self._uri.get_secret_value(), list(log_key), self._window.max_bytes)
        with capture(order):
            yield CapturedLogContext(log_key)

    @contextmanager
    def open_log_stream(
        self, log_key: Sequence[str], io_type: ComputeIOType
    ) -> Iterator[IO[bytes] | None]:
        """A stream to write to; nothing is stored where nothing is written."""
        with LogStream(self._store, log_key, io_type.value, self._window) as stream:
            yield cast("IO[bytes]", stream)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Whether no more will come: all of it is stored, or its run has ended."""
        return self._store.states([log_key])[0].is_complete

    def get_log_data_for_type(
        self, log_key: Sequence[str], io_type: ComputeIOType, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """What a stream has from an offset on, and the offset to go on from."""
        return self._store.read(log_key, io_type.value, offset or 0, max_bytes)

    def get_log_metadata(self, log_key: Sequence[str]) -> CapturedLogMetadata:
        """Where the log is, and where Apollo's webserver gives it as a file."""
        key = key_text(log_key)
        address = None if "%2F" in key else f"/logs/{key}"  # its path could not be taken apart
        return CapturedLogMetadata(
            stdout_location=f"Postgres: {key} stdout",
            stderr_location=f"Postgres: {key} stderr",
            stdout_download_url=address and f"{address}/out",
            stderr_download_url=address and f"{address}/err",
        )

    def get_log_keys_for_log_key_prefix(
        self, log_key_prefix: Sequence[str], io_type: ComputeIOType
    ) -> Sequence[list[str]]:
        """The logs right below a prefix."""
        return self._store.keys(log_key_prefix, io_type.value)

    def delete_logs(
        self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None
    ) -> None:
        """Delete one log, or all below a prefix.

        Raises:
            ValueError: neither is given.
        """
        if log_key:
            self._store.delete(log_key)
        elif prefix:
            self._store.delete_below(prefix)
        else:
            raise ValueError("delete_logs needs a log key or a prefix")

    def subscribe(
        self, log_key: Sequence[str], cursor: str | None = None
    ) -> CapturedLogSubscription:
        """Follow a log, from a cursor on. Dagster calls this on its event loop: nothing is read."""
        return LogSubscription(self, log_key, cursor, self._followers)

    def unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        """Follow no more."""
        self._followers.end(subscription)

    def dispose(self) -> None:
        """Close the connection, and follow no more."""
        self._followers.close()
        self._store.close()
