"""A tenant's YAML files, read with the place of what is wrong in them."""

from pathlib import Path
from typing import Any

import yaml

from dagster_apollo.errors import TenantError


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that has to be a mapping; an empty one is.

    Raises:
        TenantError: it cannot be read, or is none.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise TenantError(
            f"{path} is not valid YAML{where}: {error.problem}. Correct the file."
        ) from None
    except Exception as error:  # noqa: BLE001 - PyYAML raises what its own code meets in odd scalars
        raise TenantError(
            f"{path} cannot be read ({type(error).__name__}). Make it valid YAML in UTF-8."
        ) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise TenantError(f"{path} is not a YAML mapping. It should consist of `key: value` lines.")
    return content
