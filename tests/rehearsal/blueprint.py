"""A reader of render.yaml: what each service would get from Render. Pure; it starts nothing.

It covers what blueprint.schema.json allows, and resolves references as Render documents them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from jsonschema import Draft202012Validator

from dagster_apollo.paths import CHECKOUT

SCHEMA = json.loads(Path(__file__).with_name("blueprint.schema.json").read_text())
ROOT = "/opt/render"
"""The home directory of every service on Render; the source is below it."""
SOURCE = f"{ROOT}/project/src"
DEFAULT_SHUTDOWN_SECONDS = 30
DEFAULT_PORT = 10_000


class BlueprintError(ValueError):
    """Render would refuse the file, or do something else than it seems to say."""


@dataclass(frozen=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}"


@dataclass(frozen=True)
class Service:
    """One entry of `services`."""

    name: str
    type: Literal["web", "worker", "pserv"]
    plan: str
    build_command: str
    pre_deploy_command: str | None
    start_command: str
    health_check_path: str | None
    max_shutdown_delay_seconds: int
    env_vars: tuple[Mapping[str, Any], ...]

    @property
    def listens(self) -> bool:
        """Whether Render gives it a name that others can connect to."""
        return self.type != "worker"


@dataclass(frozen=True)
class Answers:
    """What is not in the file: Render generates it, or a person fills it in.

    Args:
        databases: connection strings, by the database's name.
        addresses: of the services that listen, by their names.
        given: values of the variables that are `sync: false`.
        generate: makes the value of a `generateValue` variable of a service (or a group).
    """

    databases: Mapping[str, str]
    addresses: Mapping[str, Address]
    given: Mapping[str, str]
    generate: Callable[[str, str], str]


@dataclass(frozen=True)
class Blueprint:
    """render.yaml, checked."""

    services: Mapping[str, Service]
    databases: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[Mapping[str, Any], ...]]

    def variables(self, name: str, answers: Answers) -> dict[str, str]:
        """The variables of a service as the file says; its own win over those of its groups.

        Raises:
            BlueprintError: a value that a person has to give is not given.
        """
        entries = self.services[name].env_vars
        groups = [entry["fromGroup"] for entry in entries if "fromGroup" in entry]
        shared = {
            item["key"]: self._value(group, item, answers)
            for group in groups
            for item in self.groups[group]
        }
        own = [entry for entry in entries if "key" in entry]
        return {**shared, **{entry["key"]: self._value(name, entry, answers) for entry in own}}

    def keys(self, name: str) -> set[str]:
        """The names of the variables of a service, those of its groups included."""
        return {entry["key"] for entry in self._entries(name)}

    def kind(self, name: str, key: str) -> str:
        """How a service's variable gets its value: value, generateValue, sync, fromService, …"""
        entry = [entry for entry in self._entries(name) if entry["key"] == key][-1]
        return next(it for it in entry if it != "key")

    def _entries(self, name: str) -> Iterator[Mapping[str, Any]]:
        for entry in self.services[name].env_vars:
            yield from self.groups[entry["fromGroup"]] if "fromGroup" in entry else (entry,)

    def _value(self, owner: str, entry: Mapping[str, Any], answers: Answers) -> str:
        key = entry["key"]
        if "value" in entry:
            return str(entry["value"])
        if "generateValue" in entry:
            return answers.generate(owner, key)
        if "sync" in entry:
            if key not in answers.given:
                raise BlueprintError(f"{owner}: nobody gave a value for {key} (sync: false)")
            return answers.given[key]
        if database := entry.get("fromDatabase"):
            return _property_of(answers.databases[database["name"]], database["property"])
        reference = entry["fromService"]
        if other := reference.get("envVarKey"):
            return self.variables(reference["name"], answers)[other]
        address = answers.addresses[reference["name"]]
        return str({"host": address.host, "port": address.port}.get(reference["property"], address))


def render_variables(
    service: Service, *, commit: str, instance: str, port: int | None, public: Address
) -> dict[str, str]:
    """The variables that Render itself sets; PORT to another one where `port` says so."""
    values = {
        "RENDER": "true",
        "IS_PULL_REQUEST": "false",
        "RENDER_SERVICE_NAME": service.name,
        "RENDER_SERVICE_TYPE": service.type,
        "RENDER_INSTANCE_ID": instance,
        "RENDER_GIT_BRANCH": "main",
        "RENDER_GIT_COMMIT": commit,
    }
    if service.type == "web":
        values |= {
            "PORT": str(DEFAULT_PORT),
            "RENDER_EXTERNAL_HOSTNAME": public.host,
            "RENDER_EXTERNAL_URL": public.url,
        }
    if port and service.listens:
        values["PORT"] = str(port)
    return values


def load(path: Path = CHECKOUT / "render.yaml") -> Blueprint:
    """Read a Blueprint.

    Raises:
        BlueprintError: it breaks the schema, or refers to what is not in it.
    """
    return parse(yaml.safe_load(path.read_text(encoding="utf-8")))


def parse(content: Any) -> Blueprint:
    """Check a Blueprint that was read, and make objects of it.

    Raises:
        BlueprintError: it breaks the schema, or refers to what is not in it.
    """
    errors = [
        f"{'/'.join(map(str, error.absolute_path)) or 'the file'}: {error.message}"
        for error in Draft202012Validator(SCHEMA).iter_errors(content)
    ]
    if errors:
        raise BlueprintError("\n".join(errors))
    names = [it["name"] for part in ("services", "databases") for it in content[part]]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise BlueprintError(f"more than one service or database is named {duplicates}")
    blueprint = Blueprint(
        services={entry["name"]: _service(entry) for entry in content["services"]},
        databases={entry["name"]: entry for entry in content["databases"]},
        groups={entry["name"]: tuple(entry["envVars"]) for entry in content["envVarGroups"]},
    )
    problems = list(_dangling(blueprint))
    if problems:
        raise BlueprintError("\n".join(problems))
    return blueprint


def _service(entry: Mapping[str, Any]) -> Service:
    return Service(
        name=entry["name"],
        type=entry["type"],
        plan=entry["plan"],
        build_command=entry["buildCommand"],
        pre_deploy_command=entry.get("preDeployCommand"),
        start_command=entry["startCommand"],
        health_check_path=entry.get("healthCheckPath"),
        max_shutdown_delay_seconds=entry.get("maxShutdownDelaySeconds", DEFAULT_SHUTDOWN_SECONDS),
        env_vars=tuple(entry.get("envVars", ())),
    )


def _dangling(blueprint: Blueprint) -> Iterator[str]:
    """References to what is not there."""
    for service in blueprint.services.values():
        for entry in service.env_vars:
            where = f"{service.name}: {entry.get('key', 'fromGroup')}"
            if (group := entry.get("fromGroup")) and group not in blueprint.groups:
                yield f"{where} names the group {group}, which does not exist"
            if (it := entry.get("fromDatabase")) and it["name"] not in blueprint.databases:
                yield f"{where} names the database {it['name']}, which does not exist"
            if reference := entry.get("fromService"):
                yield from _wrong_reference(blueprint, where, reference)


def _wrong_reference(
    blueprint: Blueprint, where: str, reference: Mapping[str, str]
) -> Iterator[str]:
    other = blueprint.services.get(reference["name"])
    if other is None:
        yield f"{where} names the service {reference['name']}, which does not exist"
    elif other.type != reference["type"]:
        yield f"{where} takes {other.name} for a {reference['type']}, but it is a {other.type}"
    elif "property" in reference and not other.listens:
        yield f"{where} wants an address of {other.name}, which has none"
    elif "envVarKey" in reference:
        direct = {entry.get("key") for entry in other.env_vars}
        if reference["envVarKey"] not in direct:
            yield f"{where} wants {reference['envVarKey']}, which {other.name} does not set itself"


def _property_of(connection: str, name: str) -> str:
    parts = urlsplit(connection)
    return {
        "connectionString": connection,
        "host": parts.hostname or "",
        "port": str(parts.port or 5432),
        "user": parts.username or "",
        "password": parts.password or "",
        "database": parts.path.lstrip("/"),
    }[name]
