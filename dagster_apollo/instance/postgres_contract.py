"""The environment of the instance's Postgres storage."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from dagster_apollo.contract import Environment, validate
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.instance.event_buffer import Limits


class StorageEnvironment(Environment):
    """The variables of the storage."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_STORAGE_WAIT_SECONDS": "Set it to seconds from 0 to 86400, or unset it",
    }

    apollo_storage_wait_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long a run waits for a database that is away, before it fails."""


def load_limits(environ: Mapping[str, str] | None = None) -> Limits:
    """When events are written, by the environment.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    values = validate(StorageEnvironment, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    return Limits(wait=float(values.apollo_storage_wait_seconds))
