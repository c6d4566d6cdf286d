"""What apollo.yml may say: how Apollo runs a tenant. It holds no secret."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from dagster_apollo.own_variables import require_passable, require_settable

CONFIG_FILE: Final = "apollo.yml"
_CRON_FIELDS = {
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day": (1, 31, "l"),
    "month": (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    "weekday": (0, 7, "sun mon tue wed thu fri sat"),
}
_CRON_ITEM = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?(?:#[1-5])?)(?:/[1-9]\d*)?", re.ASCII)


def _cron(value: str) -> str:
    fields = value.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron expression has five fields, e.g. '0 6 * * *'")
    for field, (name, (low, high, words)) in zip(fields, _CRON_FIELDS.items(), strict=True):
        for item in field.lower().split(","):
            match = _CRON_ITEM.fullmatch(item)
            if match is None or not all(
                low <= int(end) <= high if end.isdigit() else end in words.split()
                for end in match.groups()
                if end is not None
            ):
                raise ValueError(f"its {name} is not valid, unlike e.g. '0 6 * * *'")
    return value


def _timezone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("not a name of the IANA time zone database, e.g. 'Europe/London'")
    return value


def is_owner(value: str) -> bool:
    """Whether Dagster takes a text for an owner; it refuses all definitions for a wrong one."""
    return bool(re.fullmatch(r"team:[\w\- ]+|[^@\s]+@[^@\s]+\.[^@\s]+", value, re.ASCII))


def _owner(value: str) -> str:
    if not is_owner(value):
        raise ValueError("an owner is team:NAME or an e-mail address")
    return value


def _variable_text(value: object) -> object:
    """Nothing but a text: YAML takes NO for false and 0123 for 83, and not as they are written."""
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic takes no TypeError for a finding
            "YAML does not read it as a text; quote it, as in 'NO', '0123' or '1.10'"
        )
    if "\0" in value:
        raise ValueError("no environment variable holds a NUL character")
    return value


def _json_mapping(value: object) -> object:
    """Refuse what dbt, given it as JSON, would not read as it was meant."""
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            "holds more than texts, numbers, booleans, lists and mappings; put a date in quotes"
        ) from None
    return value


def _is_below(value: str) -> bool:
    path = PurePosixPath(value)
    return bool(value.strip()) and not (path.is_absolute() or ".." in path.parts or "\0" in value)


def _root(value: str) -> str:
    if not _is_below(value):
        raise ValueError("a path below the tenant's folder, relative to it, e.g. 'transform'")
    return value


def _source(value: str) -> str:
    if not value.strip():
        raise ValueError("a source of the project, SOURCE or SOURCE.TABLE, as source() names it")
    return value


def _asset(value: str) -> str:
    if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)*", value, re.ASCII):
        raise ValueError("an asset's key as the UI shows it, e.g. 'shared/marts/customers'")
    return value


def _requirements(value: str) -> str:
    if not _is_below(value):
        raise ValueError(
            "a file below the tenant's folder, relative to it, e.g. 'requirements.txt'"
        )
    return value


def _python(value: object) -> object:
    """A version as text: YAML reads 3.10 as 3.1."""
    if not isinstance(value, str) or not re.fullmatch(r"3\.\d{1,2}(\.\d{1,2})?", value, re.ASCII):
        raise ValueError("a version of Python in quotes, e.g. '3.12'")
    return value


class TenantConfig(BaseModel):
    """The contents of apollo.yml; every key is optional."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        title=CONFIG_FILE,
        field_title_generator=lambda name, _: name,
        use_attribute_docstrings=True,  # they are what an editor shows
        json_schema_extra={"dependentRequired": {"python": ["requirements"]}},
    )

    cron: Annotated[str, AfterValidator(_cron)] = "0 6 * * *"
    """When `<tenant>_build` is scheduled in production."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """The zone that cron is read in."""
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = ()
    """Owners (`team:NAME` or an e-mail address) of assets whose dbt group names none."""
    alert_route: str | None = None
    """Where alerts of this tenant go; a tag on its runs."""
    pool_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many of the tenant's runs may execute at once on Snowflake; on DuckDB it is one."""
    root: Annotated[str, AfterValidator(_root)] | None = None
    """The folder that holds dbt_project.yml, relative to this file; unset: the only one."""
    requirements: Annotated[str, AfterValidator(_requirements)] | None = None
    """A requirements.txt, relative to this file: what the tenant's dbt gets an environment of."""
    python: Annotated[str, BeforeValidator(_python)] | None = None
    """The Python of that environment, such as '3.12'; unset: the one that Apollo runs on."""
    vars: Annotated[Mapping[str, Any], BeforeValidator(_json_mapping)] = Field(default_factory=dict)
    """dbt's `--vars`, the same for every command; a run's own win, key by key."""
    env: Mapping[
        Annotated[str, AfterValidator(require_settable)],
        Annotated[str, BeforeValidator(_variable_text)],
    ] = Field(default_factory=dict)
    """Variables of dbt's environment, for `env_var()`, each a text; those of `env_from` win."""
    env_from: tuple[Annotated[str, AfterValidator(require_passable)], ...] = ()
    """Names of variables that pass from the environment of Apollo's process to dbt's."""

    reads: Mapping[
        Annotated[str, AfterValidator(_source)], Annotated[str, AfterValidator(_asset)]
    ] = Field(default_factory=dict)
    """Sources (`SOURCE.TABLE`, or `SOURCE`) that are assets of other tenants (`TENANT/KEY`)."""

    @model_validator(mode="after")
    def _python_is_of_an_environment(self) -> Self:
        if self.python is not None and self.requirements is None:
            raise ValueError(
                "`python:` decides for an environment of the tenant's own only; name the "
                "packages of that environment, dbt among them, by `requirements:`"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.timezone)
