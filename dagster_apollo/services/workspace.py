"""The workspace of webserver and daemon: the code servers that the environment names.

Both watch each code server and load its definitions anew when another instance answers at the
address, as after a deploy (dagster 1.13 asks for the server's id once a second).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget

from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.services.contract import CodeServer, ServiceSettings


@dataclass(frozen=True)
class CodeServers(WorkspaceLoadTarget):
    """Loads code locations from code servers that run elsewhere; never starts one."""

    servers: tuple[CodeServer, ...]

    @classmethod
    def of(cls, settings: ServiceSettings) -> "CodeServers":
        """The code servers of a process's environment.

        Raises:
            ConfigurationError: it names none, or two for one code location.
        """
        problems = []
        if not settings.code_servers:
            problems.append(
                Problem(
                    "APOLLO_CODE_SERVER",
                    "is not set, and there is no other way to reach the tenants",
                    "Set it to HOST:PORT of the code server, such as dagster-code:4000 (or set "
                    "APOLLO_CODE_SERVER_<NAME> for each of several)",
                )
            )
        names = [server.name for server in settings.code_servers]
        problems += [
            Problem(
                f"APOLLO_CODE_SERVER_{name.upper()}",
                f"is one of two variables for the code location {name}",
                "Keep one of the two, unset the other",
            )
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
        if problems:
            raise ConfigurationError(problems)
        return cls(settings.code_servers)

    def create_origins(self) -> Sequence[GrpcServerCodeLocationOrigin]:
        """One origin a code server."""
        return [
            GrpcServerCodeLocationOrigin(
                host=f"[{server.host}]" if ":" in server.host else server.host,
                port=server.port,
                location_name=server.name,
            )
            for server in self.servers
        ]
