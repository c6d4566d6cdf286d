"""How often this process's runs are heard of, by the environment."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from dagster_apollo.contract import Environment, validate
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.instance.liveness import Rhythm
from dagster_apollo.instance.postgres_contract import load_limits

_LEASE_MARGIN_SECONDS: Final = 30
"""So that a run which waits for the database as long as it may can still say how it ended."""


class HeartbeatEnvironment(Environment):
    """The variables of the heartbeat."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_HEARTBEAT_SECONDS": "Set it to seconds from 1 to 60, or unset it",
    }

    apollo_heartbeat_seconds: Annotated[int, Field(ge=1, le=60)] = 15
    """How often a run is heard of. It is lost when four in a row are missing."""


def load_rhythm(environ: Mapping[str, str] | None = None) -> Rhythm:
    """What the workers of this process promise.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    values = validate(HeartbeatEnvironment, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    lease = int(load_limits(environ).wait) + _LEASE_MARGIN_SECONDS
    return Rhythm(values.apollo_heartbeat_seconds, lease)
