"""The environment of the resumption of runs."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from dagster_apollo.contract import Environment, validate
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem


class ResumptionEnvironment(Environment):
    """The variables of the resumption of runs."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_RESUMPTIONS": "Set it to a number from 0 (never) to 10, or unset it",
    }

    apollo_resumptions: Annotated[int, Field(ge=0, le=10)] = 2
    """How many times a run that the platform ended is resumed by itself."""


def load_resumptions(environ: Mapping[str, str] | None = None) -> int:
    """How many times a run is resumed by itself.

    Raises:
        ConfigurationError: the variable is wrong.
    """
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    values = validate(ResumptionEnvironment, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    return values.apollo_resumptions
