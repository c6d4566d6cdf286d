"""Reading a manifest, and what can be said of a project from its manifest alone."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from dagster_apollo.errors import PrepareError

ASSET_RESOURCE_TYPES: Final = frozenset({"model", "seed", "snapshot"})

NODE_KINDS: Final = (
    "nodes",
    "sources",
    "exposures",
    "metrics",
    "semantic_models",
    "saved_queries",
    "unit_tests",
    "functions",
)
"""Where a manifest has what other nodes may depend on; dagster-dbt looks a node up in these."""

_NO_SCHEMAS: Final = ("", "main")
"""What the profiles say where the models' configs decide: Snowflake's targets, and local."""

Manifest = Mapping[str, Any]
"""manifest.json as dbt wrote it (schema v12: dbt-core 1.8 to 1.11)."""


@dataclass(frozen=True)
class SchemaFinding:
    """A node whose schema its own config does not decide."""

    unique_id: str
    file: str
    schema: str

    def __str__(self) -> str:
        resolved = f"resolves to schema {self.schema!r}" if self.schema else "resolves to no schema"
        return f"{self.unique_id} ({self.file}) {resolved}"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.json.

    Raises:
        PrepareError: the file is missing, or is not a whole manifest.
    """
    content = read_prepared(path)
    try:
        manifest = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise PrepareError(
            f"{path} is damaged: not a whole JSON document. Run `apollo prepare --force`."
        ) from None
    if not isinstance(manifest, dict) or "nodes" not in manifest:
        raise PrepareError(f"{path} is not a dbt manifest. Run `apollo prepare --force`.")
    return manifest


def read_prepared(path: Path) -> bytes:
    """Read a file that `apollo prepare` wrote.

    Raises:
        PrepareError: the file is missing, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PrepareError(f"There is no {path}. Run `apollo prepare`.") from None
    except OSError as error:
        raise PrepareError(
            f"{path} cannot be read: {os.strerror(error.errno or 0)}. Make it a readable file."
        ) from None


def asset_nodes(manifest: Manifest) -> Iterator[Mapping[str, Any]]:
    """The nodes that dbt materialises: models (not ephemeral ones), seeds and snapshots."""
    return (node for node in manifest["nodes"].values() if is_asset(node))


def is_asset(node: Mapping[str, Any]) -> bool:
    """Whether a node leaves something in the warehouse."""
    return (
        node["resource_type"] in ASSET_RESOURCE_TYPES
        and node["config"].get("materialized") != "ephemeral"
    )


def unrouted_nodes(manifest: Manifest) -> list[SchemaFinding]:
    """The nodes whose schema does not come from their own config (R-015).

    The profile's schema is empty, so that a node has a schema only if its config names one and
    the project's generate_schema_name takes it as it is. dbt's own macro would make `_marts` of
    `marts` (`main_marts` on DuckDB): the target's schema, `_`, and the custom one.
    """
    findings = []
    for node in asset_nodes(manifest):
        config = node["config"]
        named = config.get("schema") or config.get("target_schema")
        schema = node.get("schema") or ""
        if not named or not schema or schema in {f"{default}_{named}" for default in _NO_SCHEMAS}:
            findings.append(SchemaFinding(node["unique_id"], node["original_file_path"], schema))
    return findings
