"""The names of things in the alphabets that Dagster takes."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

Path = tuple[str, ...]


def default_path(node: Mapping[str, Any]) -> Path:
    """The key of a model, seed, snapshot or source less the tenant's name, as dagster-dbt has it.

    A test holds it against dagster-dbt's own, which cannot be imported without all of Dagster.
    """
    meta = node["config"].get("meta") or node.get("meta") or {}
    own = meta.get("dagster", {}).get("asset_key")
    if own:
        return (own,) if isinstance(own, str) else tuple(own)
    if node["resource_type"] == "source":
        return (node["source_name"], node["name"])
    if node.get("version"):
        return (node["alias"],)
    schema = node["config"].get("schema")
    return (node["name"],) if schema is None else (schema, node["name"])


def legible(text: str, allowed: str = "") -> str:
    """A text in letters, digits and `_` of ASCII: as it is where it is in them.

    Accents are left out, and each other character becomes `_`. Where nothing is left to be read,
    such as of a name in Japanese, it is a digest of the text.

    Args:
        text: any text.
        allowed: characters that may stay, too.
    """
    pattern = f"[^A-Za-z0-9_{re.escape(allowed)}]"
    if not re.search(pattern, text):
        return text
    plain = "".join(
        char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char)
    )
    cleaned = re.sub(pattern, "_", plain)
    return cleaned if cleaned.strip("_") else f"x{digest(text)}"


def identifier(path: Iterable[str]) -> str:
    """What Dagster makes of a key to name an output (AssetKey.to_python_identifier, 1.13)."""
    return "__".join(path).replace("-", "_").replace(".", "_")


def digest(text: str) -> str:
    """Eight characters that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
