"""What decides the result of a preparation, as one hash.

Files count by content; size and modification time only save reading those that did not change.
A file changed within the clock's resolution of the last look is read again, as Git does.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dagster_apollo.dbt.interpreter import interpreter_of
from dagster_apollo.own_variables import SECRET_PREFIX
from dagster_apollo.profiles import profile_of
from dagster_apollo.settings import TenantSettings

_FORMAT: Final = 5
"""Of what is prepared: a new one where the digest's fields, shape or names change (digest.py)."""
_RACY_NANOSECONDS: Final = 2_000_000_000
_ROOT_FILES: Final = (
    "dbt_project.yml",
    "packages.yml",
    "dependencies.yml",
    "package-lock.yml",
    "selectors.yml",
)
_PATH_DEFAULTS: Final = {
    "model-paths": ["models"],
    "seed-paths": ["seeds"],
    "test-paths": ["tests"],
    "analysis-paths": ["analyses"],
    "macro-paths": ["macros"],
    "snapshot-paths": ["snapshots"],
    "function-paths": ["functions"],
    "docs-paths": [],
}

FileStamp = tuple[int, int, str]
"""Size in bytes, modification time in nanoseconds, SHA-256 of the content."""


@dataclass(frozen=True)
class Fingerprint:
    """A digest, and the stamps that make the next one cheap."""

    digest: str
    files: Mapping[str, FileStamp]


def fingerprint(
    settings: TenantSettings, known: Mapping[str, FileStamp], *, looked_at: int
) -> Fingerprint:
    """Hash everything that decides the manifest of a tenant.

    Args:
        settings: the tenant's settings; secrets in them do not count.
        known: stamps of an earlier look.
        looked_at: when that look began, in nanoseconds since the epoch.
    """
    project_dir = settings.tenant.project_dir
    interpreter = interpreter_of(settings)
    files = {
        name: _stamp(Path(name), known.get(name), looked_at)
        for name in sorted({os.fspath(path) for path in project_files(project_dir)})
    }
    inputs = {
        "format": _FORMAT,
        "project_dir": os.fspath(project_dir),
        "files": {name: stamp[2] for name, stamp in files.items()},
        "packages": _installed_packages(project_dir),
        "profile": profile_of(settings),
        "connection": repr(settings.snowflake),  # without the key, see settings.Snowflake
        "variables": {
            name: value
            for name, value in settings.own_variables.items()
            if not name.startswith(SECRET_PREFIX)
        },
        "vars": settings.tenant.config.vars,
        "environment": interpreter.environment.name if interpreter.environment else None,
        "versions": dict(interpreter.versions),
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Fingerprint(digest, files)


def project_files(project_dir: Path) -> Iterator[Path]:
    """The files that dbt reads when it parses a project, those of its local packages included."""
    for directory in _projects(project_dir):
        for name in _ROOT_FILES:
            if (path := directory / name).is_file():
                yield path
        for folder in _declared_folders(directory):
            yield from _walk(folder)


def project_folders(project_dir: Path) -> Iterator[Path]:
    """The folders that those files are in, or would be: a change of what is in one may count."""
    for directory in _projects(project_dir):
        yield directory
        yield from _declared_folders(directory)
    yield from {Path(os.path.realpath(path)).parent for path in project_files(project_dir)}


def _projects(project_dir: Path) -> Iterator[Path]:
    """A project's folder and those of its local packages, and of theirs."""
    seen: set[Path] = set()
    queue = [project_dir]
    while queue:
        directory = queue.pop().resolve()
        if directory not in seen:
            seen.add(directory)
            yield directory
            queue += (directory / local for local in _local_packages(directory))


def _declared_folders(directory: Path) -> Iterator[Path]:
    """Where a dbt_project.yml says that files are."""
    project = _read_mapping(directory / "dbt_project.yml")
    for key, default in _PATH_DEFAULTS.items():
        folders = project.get(key) or default
        # dbt refuses anything but a list; the letters of a text are no folders, least of all /
        for folder in folders if isinstance(folders, list) else ():
            yield directory / str(folder)


def _local_packages(directory: Path) -> Iterator[str]:
    for name in ("packages.yml", "dependencies.yml"):
        packages = _read_mapping(directory / name).get("packages")
        for package in packages if isinstance(packages, list) else ():
            if isinstance(package, dict) and isinstance(package.get("local"), str):
                yield package["local"]


def _walk(directory: Path) -> Iterator[Path]:
    visited: set[str] = set()  # a link to a parent folder would lead round for ever
    for root, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _stamp(path: Path, known: FileStamp | None, looked_at: int) -> FileStamp:
    status = path.stat()
    unchanged = known is not None and (known[0], known[1]) == (status.st_size, status.st_mtime_ns)
    if known is not None and unchanged and status.st_mtime_ns < looked_at - _RACY_NANOSECONDS:
        return known
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return (status.st_size, status.st_mtime_ns, content)


def _installed_packages(project_dir: Path) -> dict[str, str]:
    """What `dbt deps` installed: each package's folder and the hash of its dbt_project.yml."""
    project = _read_mapping(project_dir / "dbt_project.yml")
    folder = project_dir / str(project.get("packages-install-path") or "dbt_packages")
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/dbt_project.yml"))
    }


def _read_mapping(path: Path) -> dict[str, Any]:
    """A YAML mapping, or an empty one where dbt itself will say what is wrong with the file."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError):  # ValueError: a date such as 2024-13-01
        return {}
    return content if isinstance(content, dict) else {}
