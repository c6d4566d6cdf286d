"""The digest of a manifest: what Dagster is told of a project, and nothing else.

A manifest holds some 12 kB of memory for each node, most of it for dbt alone (macros, hooks,
unrendered configs), and each process that loads definitions would hold it for its whole life.
`apollo prepare` writes the digest beside it. It has the manifest's shape, so that dagster-dbt
reads it as one; what is equal in several nodes is there once.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from dagster_apollo.dbt.keys import settle_names
from dagster_apollo.dbt.manifest import NODE_KINDS, Manifest, read_prepared
from dagster_apollo.errors import PrepareError

_ALWAYS: Final = (
    "unique_id",
    "resource_type",
    "name",
    "package_name",
    "original_file_path",
    "fqn",
    "config",
    "depends_on",
)
"""Read without a default, or to tell of a node by its name."""

_FIELDS: Final = {
    "test": ("attached_node", "meta", "group", "version"),
    "source": (
        *("source_name", "identifier", "database", "schema", "relation_name", "description"),
        *("columns", "meta", "tags", "group"),
    ),
}
_ASSET_FIELDS: Final = (
    *("alias", "database", "schema", "relation_name", "description", "raw_code", "checksum"),
    *("columns", "meta", "tags", "group", "version"),
)
_CONFIG: Final = ("schema", "group", "materialized", "meta", "severity")
_COLUMN: Final = ("data_type", "description", "tags")
_SHARED: Final = (
    *("resource_type", "package_name", "original_file_path"),
    *("config", "depends_on", "columns", "meta", "tags", "group"),
)
"""Fields that are often equal in many nodes."""


def write_digest(manifest: Manifest, path: Path) -> None:
    """Write the digest of a manifest.

    Args:
        manifest: all of it; its nodes get the names in it that they have in Dagster (keys.py).
        path: the digest's file.
    """
    settle_names(manifest)
    shared: dict[bytes, int] = {}

    def number(value: object) -> int:
        return shared.setdefault(orjson.dumps(value), len(shared))

    nodes = {
        kind: [_packed(_digest(node), number) for node in manifest.get(kind, {}).values()]
        for kind in NODE_KINDS
    }
    content = {
        "metadata": manifest["metadata"],
        "groups": {
            key: {name: group.get(name) for name in ("name", "owner")}
            for key, group in manifest.get("groups", {}).items()
        },
        "shared": [orjson.Fragment(value) for value in shared],
        "by_kind": nodes,
    }
    path.write_bytes(orjson.dumps(content))


def read_digest(path: Path) -> Manifest:
    """Read a digest.

    Nodes share what is equal in them: take them as they are, and change nothing.

    Returns:
        A manifest with the nodes' properties that Dagster is told of.

    Raises:
        PrepareError: the file is missing, or is not a whole digest.
    """
    content = read_prepared(path)
    try:
        return _unpacked(orjson.loads(content))
    except (ValueError, LookupError, TypeError):
        raise PrepareError(f"{path} is damaged. Run `apollo prepare --force`.") from None


def _digest(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node with the properties that Dagster is told of; those without a value are left out."""
    fields = _FIELDS.get(node["resource_type"], _ASSET_FIELDS)
    found = {
        **{name: node[name] for name in _ALWAYS if name in node},
        **{name: node[name] for name in fields if node.get(name)},
    }
    found["config"] = {
        name: value for name in _CONFIG if (value := node.get("config", {}).get(name)) is not None
    }
    if "depends_on" in node:
        found["depends_on"] = {"nodes": node["depends_on"].get("nodes", [])}
    if "columns" in found:
        found["columns"] = {
            name: {field: column[field] for field in _COLUMN if column.get(field)}
            for name, column in found["columns"].items()
        }
    return found


def _packed(node: dict[str, Any], number: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: number(value) if name in _SHARED else value for name, value in node.items()}


def _unpacked(content: Mapping[str, Any]) -> Manifest:
    shared = content["shared"]
    texts: dict[str, str] = {}
    manifest: dict[str, Any] = {"metadata": content["metadata"], "groups": content["groups"]}
    for kind in NODE_KINDS:
        manifest[kind] = found = {}
        for node in content["by_kind"][kind]:
            for name in _SHARED:
                if name in node:
                    node[name] = shared[node[name]]
            texts.setdefault(node["name"], node["name"])
            if "fqn" in node:
                node["fqn"] = [texts.setdefault(text, text) for text in node["fqn"]]
            found[node["unique_id"]] = node
    manifest["parent_map"], manifest["child_map"] = _maps(
        node for kind in NODE_KINDS for node in manifest[kind].values()
    )
    return manifest


def _maps(
    nodes: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Each node's parents and children, as dbt works them out from the same fields."""
    parents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    for node in nodes:
        key = node["unique_id"]
        parents[key] = node.get("depends_on", {}).get("nodes", [])
        for parent in parents[key]:
            children.setdefault(parent, []).append(key)
    return parents, children
