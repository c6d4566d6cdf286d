"""What a tenant's own dbt is to be made of: its requirements file, and all that this includes.

The file is pip's format, which uv reads. Apollo looks into it for three things only: which files
decide what is installed, so that the environment is made anew when one of them changes; which
variables it names, since uv would put any of its environment into an address; and whether it would
have uv run a package's own code, for which a line in it is enough.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_apollo.errors import TenantError
from dagster_apollo.own_variables import OWN_VARIABLE_PREFIX
from dagster_apollo.tenant_config import CONFIG_FILE, TenantConfig

_INCLUDES = re.compile(r"(?:-r|-c|--requirements?|--constraints?)(?:\s+|=|(?=[^\s-]))(\S.*)")
_EDITABLE: Final = ("-e", "--editable")
_BUILDS: Final = "--no-binary"
"""Has uv build a package from its source, whatever its command line says."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FETCHES: Final = ("UV_", "GIT_", "SSH_")
"""What variables begin with that decide how uv and its git fetch: some name a program to run."""
_SUFFIXES: Final = (".txt", ".in")
"""Of the names of files that uv takes for requirements; a pyproject.toml may ask it to build."""
_MOST_FILES: Final = 50


@dataclass(frozen=True)
class Requirements:
    """The requirements of a tenant's own environment.

    Args:
        file: the file that apollo.yml names, as an absolute path.
        digest: of the contents of this file and all that it includes.
        has_hashes: whether a file is to be installed only if it has the hash that is named.
        variables: the names of the variables that are in its addresses.
    """

    file: Path
    digest: str
    has_hashes: bool
    variables: frozenset[str]


def read_requirements(folder: Path, config: TenantConfig) -> Requirements | None:
    """Read a tenant's requirements; None where its dbt is Apollo's.

    Args:
        folder: the tenant's folder.
        config: the contents of its apollo.yml.

    Raises:
        TenantError: a file is missing or cannot be read, or says what is not allowed.
    """
    if config.requirements is None:
        return None
    file = folder / config.requirements
    if not file.name.endswith(_SUFFIXES):
        raise TenantError(
            f"{folder / CONFIG_FILE} names the requirements {file}, whose name does not end in "
            f"{' or '.join(_SUFFIXES)}. Put them into such a file, in pip's format."
        )
    own = {*config.env, *config.env_from}
    variables: set[str] = set()
    contents: dict[Path, bytes] = {}
    waiting = [(file, folder / CONFIG_FILE)]
    while waiting:
        named, named_by = waiting.pop()
        path = Path(os.path.normpath(named))
        if path in contents:
            continue
        if len(contents) == _MOST_FILES:
            raise TenantError(f"{file} includes more than {_MOST_FILES} files. Name fewer.")
        contents[path] = _read(path, named_by)
        lines = list(_lines(contents[path], path))
        _require_allowed(lines, path, own)
        variables.update(*map(_VARIABLE.findall, lines))
        waiting += ((path.parent / name, path) for name in _included(lines, path))
        for wheel in _local_files(lines, path.parent):
            contents[wheel] = _read(wheel, path)
    digest = hashlib.sha256()
    for content in contents.values():
        digest.update(hashlib.sha256(content).digest())
    has_hashes = any(b"--hash" in content for content in contents.values())
    return Requirements(file, digest.hexdigest(), has_hashes, frozenset(variables))


def _read(path: Path, named_by: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise TenantError(
            f"{named_by} names the requirements {path}: {reason}. Correct the name, or bring the "
            "file along."
        ) from None


def _lines(content: bytes, path: Path) -> Iterator[str]:
    """The lines of a requirements file, without comments, joined where they go on.

    A comment ends with its line, also where that ends in a backslash.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TenantError(f"{path} is not UTF-8. Save it as UTF-8.") from None
    bare = [re.sub(r"(^|\s)#.*", " ", line) for line in text.splitlines()]
    for line in "\n".join(bare).replace("\\\n", " ").split("\n"):
        if line.strip():
            yield line.strip()


def _require_allowed(lines: list[str], path: Path, own: set[str]) -> None:
    for line in lines:
        if line.startswith(_EDITABLE):
            raise TenantError(
                f"{path} names an editable package, which would change unseen. Build a wheel of "
                "it, and name that."
            )
        if line.startswith(_BUILDS):
            raise TenantError(
                f"{path} has packages built ({_BUILDS}), and only wheels are installed. Leave "
                "the line out; build a wheel of what has none."
            )
        for name in _VARIABLE.findall(line):
            if name not in own and not name.startswith(OWN_VARIABLE_PREFIX):
                raise TenantError(
                    f"{path} reads the variable {name}, which is not the tenant's. Take one that "
                    f"begins with {OWN_VARIABLE_PREFIX}, or name it under `env:` or `env_from:` "
                    f"in {CONFIG_FILE}."
                )
            if name.startswith(_FETCHES):
                raise TenantError(
                    f"{path} reads the variable {name}, which decides how packages are fetched. "
                    f"Take one that begins with {OWN_VARIABLE_PREFIX}."
                )


def _included(lines: list[str], path: Path) -> Iterator[str]:
    for line in lines:
        if match := _INCLUDES.fullmatch(line):
            name = match[1].strip("'\"")
            if "://" in name:
                raise TenantError(
                    f"{path} includes a file from elsewhere, which would change unseen. Keep it "
                    "in the tenant's folder."
                )
            yield name


def _local_files(lines: list[str], folder: Path) -> Iterator[Path]:
    """The packages among the requirements that are files beside them."""
    for line in lines:
        if line.startswith("-"):
            continue
        name = line.rpartition(" @ ")[2].split()[0].split("#")[0].removeprefix("file://")
        if "/" in name or name.endswith(".whl"):
            path = folder / name
            if path.is_file():
                yield path
