"""dbt's `--vars`: the tenant's own, in every command alike.

dbt throws its partial parse away when the variables differ from the last parse's, so preparation
and runs have to give the same; and what is parsed with other variables is another project.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from dagster_apollo.errors import ApolloError

_OPTION: Final = "--vars"
_ONE_LINE: Final = math.inf
_COMMANDS: Final = frozenset(
    {
        *("build", "clean", "clone", "compile", "debug", "deps", "docs", "init", "list", "ls"),
        *("parse", "retry", "run", "run-operation", "seed", "show", "snapshot", "source", "test"),
    }
)


def with_variables(arguments: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
    """Give a dbt command the tenant's variables, below those that it has already.

    Args:
        arguments: a command line of dbt, as a person or Apollo wrote it.
        variables: what apollo.yml says; where it says nothing, the command line stays as it is.

    Raises:
        ApolloError: the command line's own `--vars` is not a mapping in YAML.
    """
    if not variables or _COMMANDS.isdisjoint(arguments):
        return list(arguments)
    rest, given = _without_variables(arguments)
    # not as JSON, whose escapes beyond the Basic Multilingual Plane YAML does not read
    text = yaml.safe_dump({**variables, **given}, default_flow_style=True, width=_ONE_LINE)
    return [*rest, _OPTION, text.strip()]


def _without_variables(arguments: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
    """The command line less `--vars`, and what the last of them says: the one that dbt takes."""
    rest: list[str] = []
    text = ""
    remaining = iter(arguments)
    for argument in remaining:
        if argument == _OPTION:
            text = next(remaining, "")
        elif argument.startswith(f"{_OPTION}="):
            text = argument.removeprefix(f"{_OPTION}=")
        else:
            rest.append(argument)
    try:
        given = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError):
        given = None
    if not isinstance(given, dict):
        raise ApolloError(
            "--vars is not a mapping. Write it as YAML in quotes, e.g. --vars 'as_of: 2025'."
        )
    return rest, given
