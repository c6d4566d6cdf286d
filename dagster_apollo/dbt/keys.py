"""The names that a project's nodes have in Dagster, where those that dbt gives them will not do.

Dagster makes a Python identifier of each asset key and of each check's name, and refuses all
definitions for one that is not valid or that two have. dbt takes nearly any name. What Dagster
takes stays as it is, since a new key has no history; the rest is mended here, in the manifest that
the digest is made from, by rules that give the same names each time (docs/tenants.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dagster_apollo.dbt.check_places import attach_tests, settle_check_names
from dagster_apollo.dbt.manifest import NODE_KINDS, Manifest, is_asset
from dagster_apollo.names import Path, default_path, digest, identifier, legible

Node = dict[str, Any]

_META: Final[Mapping[str, type | tuple[type, ...]]] = {
    "asset_key": (str, list),
    "group": str,
    "owners": (str, list),
    "auto_materialize_policy": dict,
    "ref": dict,
}
"""What dagster-dbt reads of `meta.dagster`, and takes for granted that it is of these types."""


def settle_names(manifest: Manifest) -> None:
    """Give each asset a key, and each test a place and a name, that Dagster takes.

    Args:
        manifest: all of it, as dbt wrote it; it is changed.
    """
    for node in (*manifest["nodes"].values(), *manifest["sources"].values()):
        _tidy_meta(node)
    _drop_missing_parents(manifest)
    _settle_keys(manifest, _read_own_tables(manifest))
    attach_tests(manifest)
    settle_check_names(manifest)


def _tidy_meta(node: Node) -> None:
    """Leave out what settings for another Dagster hold that would stop this one.

    Metas may be one object in several nodes, so they are replaced, not changed.
    """
    for holder in (node, node["config"]):
        meta = holder.get("meta")
        if isinstance(meta, dict) and "dagster" in meta:
            holder["meta"] = {**meta, "dagster": dict(_usable(meta["dagster"]))}
        elif meta is not None and not isinstance(meta, dict):
            holder["meta"] = {}


def _usable(settings: object) -> Iterator[tuple[str, Any]]:
    if not isinstance(settings, dict):
        return
    for name, value in settings.items():
        if not isinstance(value, _META.get(name, object)):
            continue
        if name == "asset_key" and not all(isinstance(part, str) and part for part in value):
            continue
        if name == "owners":
            value = [value] if isinstance(value, str) else value  # noqa: PLW2901
        yield name, value


def _drop_missing_parents(manifest: Manifest) -> None:
    """Forget parents that are not in the manifest: nodes that are disabled or were replaced."""
    known = {key for kind in NODE_KINDS for key in manifest.get(kind, {})}
    for node in manifest["nodes"].values():
        parents = node.get("depends_on", {}).get("nodes", [])
        if not known.issuperset(parents):
            node["depends_on"]["nodes"] = [it for it in parents if it in known]
        if node.get("attached_node") not in known:
            node["attached_node"] = None


def _read_own_tables(manifest: Manifest) -> dict[str, str]:
    """Take a source that is the table of one of the project's own nodes for that node.

    Projects read their seeds through source(). The two are one asset; but not where the node
    itself is made from the source (it reads what it wrote the last time): no asset may do so.
    Nodes may be made from each other's tables, too, so each source is looked at in the graph in
    which those before it are taken for their nodes already.

    Returns:
        The node of each such source.
    """
    by_relation = {
        _relation(node): key
        for key, node in manifest["nodes"].items()
        if is_asset(node) and node.get("relation_name")
    }
    parents_of = {
        key: node.get("depends_on", {}).get("nodes", [])
        for kind in NODE_KINDS
        for key, node in manifest.get(kind, {}).items()
    }
    same: dict[str, str] = {}
    for key, source in sorted(manifest["sources"].items()):
        own = by_relation.get(_relation(source))
        if own and key not in _ancestors(own, parents_of, same):
            same[key] = own
    for node in manifest["nodes"].values() if same else ():
        parents = node.get("depends_on", {}).get("nodes", [])
        if not same.keys().isdisjoint(parents):
            replaced = list(dict.fromkeys(same.get(it, it) for it in parents))
            node["depends_on"] = {**node["depends_on"], "nodes": replaced}
        if node.get("attached_node") in same:
            node["attached_node"] = same[node["attached_node"]]
    return same


def _relation(node: Mapping[str, Any]) -> str:
    """Where a node's table is, whatever way it is quoted."""
    return str(node.get("relation_name") or "").replace('"', "").replace("`", "").lower()


def _ancestors(
    unique_id: str, parents_of: Mapping[str, Sequence[str]], same: Mapping[str, str]
) -> set[str]:
    """All that a node is made from, where some sources are nodes."""
    found: set[str] = set()
    waiting = [unique_id]
    while waiting:
        parents = {same.get(it, it) for it in parents_of.get(waiting.pop(), ())} - found
        found |= parents
        waiting += parents
    return found


def _settle_keys(manifest: Manifest, same: Mapping[str, str]) -> None:
    """Give those a key of their own whose default key cannot be used, or is another's already.

    Dagster names the outputs of one op by their keys' identifiers, so those of assets differ. A
    source is no output: of it only the key itself counts.
    """
    project = manifest["metadata"].get("project_name")

    def precedence(node: Node) -> tuple[bool, bool, str]:
        is_source = node["resource_type"] == "source"
        return is_source, node["package_name"] != project, node["unique_id"]

    nodes = [node for node in manifest["nodes"].values() if is_asset(node)]
    sources = [source for key, source in manifest["sources"].items() if key not in same]
    identifiers: set[str] = set()
    paths: set[Path] = set()
    for node in sorted([*nodes, *sources], key=precedence):
        path = tuple(legible(part, allowed=".-") for part in default_path(node))
        own = node["resource_type"] != "source"
        while path in paths or (own and identifier(path) in identifiers):
            path = (*path, _told_apart(node["unique_id"]))
        paths.add(path)
        if own:
            identifiers.add(identifier(path))
        _set_path(node, path)
    for source, own in same.items():
        _set_path(manifest["sources"][source], default_path(manifest["nodes"][own]))


def _set_path(node: Node, path: Path) -> None:
    if path != default_path(node):
        meta = node["config"].get("meta") or node.get("meta") or {}
        settings = {**meta.get("dagster", {}), "asset_key": list(path)}
        node["config"] = {**node["config"], "meta": {**meta, "dagster": settings}}


def _told_apart(unique_id: str) -> str:
    cleaned = legible(unique_id, allowed=".-")
    return cleaned if cleaned == unique_id else f"{cleaned}.{digest(unique_id)}"
