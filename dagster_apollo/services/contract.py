"""The environment of the three production processes: what they need beside the common contract."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeVar

from pydantic import Field, SecretStr

from dagster_apollo import __version__
from dagster_apollo.contract import (
    MENDS,
    ComputeLogEnvironment,
    Environment,
    Line,
    ProcessEnvironment,
    validate,
)
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem

_CODE_SERVER: Final = "APOLLO_CODE_SERVER"
_CODE_SERVER_MEND: Final = "Set it to HOST:PORT of the code server, such as dagster-code:4000"
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65535
_FirstT = TypeVar("_FirstT")
_SecondT = TypeVar("_SecondT")


class ServiceEnvironment(Environment):
    """The variables that the production processes share."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_RELEASE": "Set it to the release's commit or version, the same for all services",
        "RENDER_GIT_COMMIT": "Leave it to Render, or set APOLLO_RELEASE",
        "APOLLO_DEPLOY_SECONDS": "Set it to seconds from 0 to 86400, or unset it",
        "APOLLO_SHUTDOWN_SECONDS": "Set it to seconds from 1 to 3600, or unset it",
        "PORT": "Set it to a port number from 1 to 65535, or unset it",
    }

    apollo_release: Line | None = None
    render_git_commit: Line | None = None
    apollo_deploy_seconds: Annotated[int, Field(ge=0, le=86_400)] = 900
    apollo_shutdown_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30
    port: Annotated[int, Field(ge=1, le=_HIGHEST_PORT)] | None = None


@dataclass(frozen=True)
class CodeServer:
    """Where a code location is served.

    Args:
        name: the code location's name.
        host: the host's name or address.
        port: the port of Dagster's gRPC API there.
    """

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class ServiceSettings:
    """What a production process works with; every value is checked.

    Args:
        dagster_home: the instance directory, the same path on every host.
        dagster_pg_uri: the instance's Postgres database, as SQLAlchemy takes it.
        release: identifies the code that runs: a commit, or a version.
        deploy_seconds: how long services of different releases may run side by side.
        shutdown_seconds: the time from SIGTERM to SIGKILL.
        port: PORT; None where the service's default counts.
        code_servers: where the code locations are served; none where no variable says so.
    """

    dagster_home: Path
    dagster_pg_uri: SecretStr
    release: str
    deploy_seconds: int
    shutdown_seconds: int
    port: int | None
    code_servers: tuple[CodeServer, ...]


def load_services(
    environ: Mapping[str, str] | None = None, *, needs_code_server: bool = False
) -> ServiceSettings:
    """Read and check the environment of a production process.

    Args:
        environ: the variables; by default those that `read_environment` gives.
        needs_code_server: whether the process is of no use without code locations.

    Raises:
        ConfigurationError: anything is missing or wrong; it lists all problems.
    """
    environ = read_environment() if environ is None else environ
    problems: list[Problem] = []
    process = validate(ProcessEnvironment, environ, str, problems)
    values = validate(ServiceEnvironment, environ, str, problems)
    validate(ComputeLogEnvironment, environ, str, problems)  # read later, with the instance
    reported = {problem.variable for problem in problems}
    for name, why in (
        ("DAGSTER_PG_URI", "the services share one Postgres database"),
        ("DAGSTER_HOME", "the services need the same path on every host"),
    ):
        if not environ.get(name, "").strip() and name not in reported:
            problems.append(
                Problem(name, f"is not set, and {why}", MENDS[name].removesuffix(", or unset it"))
            )
    code_servers = tuple(_code_servers(environ, problems))
    if needs_code_server:
        problems += _location_problems(code_servers, {problem.variable for problem in problems})
    if problems or process.dagster_pg_uri is None:
        raise ConfigurationError(problems)
    return ServiceSettings(
        dagster_home=process.dagster_home,
        dagster_pg_uri=process.dagster_pg_uri,
        release=values.apollo_release or values.render_git_commit or __version__,
        deploy_seconds=values.apollo_deploy_seconds,
        shutdown_seconds=values.apollo_shutdown_seconds,
        port=values.port,
        code_servers=code_servers,
    )


def load_both(
    first: Callable[[], _FirstT], second: Callable[[], _SecondT]
) -> tuple[_FirstT, _SecondT]:
    """Read two parts of the environment that each raise their problems, in one round.

    Raises:
        ConfigurationError: anything is missing or wrong in either; it lists all problems.
    """
    problems: list[Problem] = []
    try:
        loaded = first()
    except ConfigurationError as error:
        problems += error.problems
    try:
        other = second()
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    return loaded, other


def _code_servers(environ: Mapping[str, str], problems: list[Problem]) -> Iterator[CodeServer]:
    """The code servers that the environment names; a nameless one serves location `apollo`."""
    for variable in sorted(environ):
        name, separator, suffix = variable.partition(f"{_CODE_SERVER}_")
        if variable != _CODE_SERVER and (name or not separator or not suffix):
            continue
        value = environ[variable].strip()
        if not value:
            continue
        match = _ADDRESS.fullmatch(value)
        if match is None or not 0 < int(match["port"]) <= _HIGHEST_PORT:
            problems.append(Problem(variable, "is not HOST:PORT", _CODE_SERVER_MEND))
            continue
        location = suffix.lower() if separator else "apollo"
        yield CodeServer(location, match["host"].strip("[]"), int(match["port"]))


def _location_problems(
    code_servers: Sequence[CodeServer], reported: Collection[str]
) -> Iterator[Problem]:
    """That there is no code location, or that one is served at two addresses."""
    if not code_servers and not any(name.startswith(_CODE_SERVER) for name in reported):
        yield Problem(
            _CODE_SERVER,
            "is not set, and there is no other way to reach the tenants",
            f"{_CODE_SERVER_MEND} (or set {_CODE_SERVER}_<NAME> for each of several)",
        )
    names = [server.name for server in code_servers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(
            f"{_CODE_SERVER}_{name.upper()}",
            f"is one of two variables for the code location {name}",
            "Keep one of the two, unset the other",
        )
