"""Preparation: `dbt deps` and `dbt parse`, once for every change, without touching the warehouse.

The result is four files in the tenant's `prepared/<target>` folder: manifest.json, its digest for
Dagster (digest.json), partial_parse.msgpack for every later dbt run, and state.json, which says
what the others were made from. state.json is removed first and written last, so that a crash at
any moment leaves a tenant that is visibly not prepared, never one with half a result.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from dagster_apollo.dbt.digest import write_digest
from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.dbt.fingerprint import FileStamp, Fingerprint, fingerprint
from dagster_apollo.dbt.interpreter import interpreter_of
from dagster_apollo.dbt.manifest import SchemaFinding, read_manifest, unrouted_nodes
from dagster_apollo.dbt.messages import UNREACHABLE, error_messages, mend_of
from dagster_apollo.dbt.own_environment import make_environment, require_usable
from dagster_apollo.dbt.process import output_of, start_dbt, start_process, stop_dbt
from dagster_apollo.dbt.schema_routing import unrouted_message
from dagster_apollo.dbt.variables import with_variables
from dagster_apollo.errors import ApolloError, PrepareError
from dagster_apollo.settings import TenantSettings

MANIFEST_FILE: Final = "manifest.json"
DIGEST_FILE: Final = "digest.json"
PARTIAL_PARSE_FILE: Final = "partial_parse.msgpack"
STATE_FILE: Final = "state.json"
FAILURE_FILE: Final = "failure.txt"
_RESULT_FILES: Final = (MANIFEST_FILE, DIGEST_FILE, PARTIAL_PARSE_FILE)

_LOOK_EVERY_SECONDS: Final = 0.2
_log = logging.getLogger(__name__)
_DEPS_SILENCE_SECONDS: Final = 45
"""dbt itself waits for a hub that does not answer for six times 30 seconds."""
_GIT_SILENCE_SECONDS: Final = 120
"""A host of a large repository may count its objects as long, before it sends the first."""
_PACKAGE_FILES: Final = ("packages.yml", "dependencies.yml", "package-lock.yml")
_NO_QUESTIONS: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=15",
}
"""There is nobody to type the password of a private package."""

_running: set["subprocess.Popen[bytes]"] = set()
_stopping = threading.Event()

Step = Literal["waiting", "environment", "deps", "parse", "fresh", "done", "failed"]
Progress = Callable[[TenantSettings, Step], None]


@dataclass(frozen=True)
class Freshness:
    """Whether a tenant's prepared files match its project.

    Args:
        reason: why they do not, as the end of "is stale: "; None where they do.
        fingerprint: what the project is now.
    """

    reason: str | None
    fingerprint: Fingerprint

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has to be prepared."""
        return self.reason is None


@dataclass(frozen=True)
class Prepared:
    """The outcome for one tenant.

    Args:
        settings: the tenant.
        was_fresh: nothing had to be done.
        unrouted: on DuckDB, the nodes that Snowflake would refuse (R-015).
    """

    settings: TenantSettings
    was_fresh: bool
    unrouted: tuple[SchemaFinding, ...] = ()


@dataclass(frozen=True)
class NotPrepared:
    """A tenant whose preparation failed.

    Args:
        settings: the tenant.
        reason: dbt's own messages, and the mend.
    """

    settings: TenantSettings
    reason: str


def manifest_path(settings: TenantSettings) -> Path:
    """Where the tenant's prepared manifest is."""
    return settings.paths.prepared / MANIFEST_FILE


def digest_path(settings: TenantSettings) -> Path:
    """Where the digest of the tenant's prepared manifest is."""
    return settings.paths.prepared / DIGEST_FILE


def check_freshness(settings: TenantSettings) -> Freshness:
    """Compare the prepared files with the project; costs one stat a file when nothing changed."""
    if settings.tenant.fault is not None:
        return Freshness(f"its files cannot be used: {settings.tenant.fault}", Fingerprint("", {}))
    state = _read_state(settings.paths.prepared)
    known: dict[str, FileStamp] = {
        name: (stamp[0], stamp[1], stamp[2]) for name, stamp in state.get("files", {}).items()
    }
    now = fingerprint(settings, known, looked_at=state.get("looked_at", 0))
    if not interpreter_of(settings).is_there:
        return Freshness("the environment that its requirements ask for is not made", now)
    if not state:
        return Freshness("it was never prepared, or the last preparation did not finish", now)
    if state["digest"] != now.digest:
        changed = sorted(
            name
            for name in known.keys() | now.files.keys()
            if known.get(name, (0, 0, ""))[2] != now.files.get(name, (0, 0, ""))[2]
        )
        what = ", ".join(changed[:3]) + (", ..." if len(changed) > len(changed[:3]) else "")
        return Freshness(f"changed since: {what}" if changed else "settings changed since", now)
    for name in _RESULT_FILES:
        if _size(settings.paths.prepared / name) != state["sizes"].get(name):
            return Freshness(f"{name} is missing or damaged", now)
    return Freshness(None, now)


def require_fresh(settings: TenantSettings) -> None:
    """Refuse to go on with a missing or stale manifest.

    Raises:
        PrepareError: it says which command to run when the release is built.
        TenantError: the tenant's files cannot be used.
    """
    settings.tenant.require_sound()
    freshness = check_freshness(settings)
    if not freshness.is_fresh:
        name, failure = settings.tenant.name, last_failure(settings)
        raise PrepareError(
            f"The manifest of tenant {name} for target {settings.target} is stale: "
            f"{freshness.reason}. Run `DBT_TARGET={settings.target} apollo prepare {name}` when "
            "the release is built, with the same DAGSTER_HOME and settings."
            + (f"\nThe last preparation failed:\n{failure}" if failure else "")
        )


def last_failure(settings: TenantSettings) -> str | None:
    """Why the tenant's last preparation failed; None if it did not, or there was none."""
    try:
        return (settings.paths.prepared / FAILURE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def require_prepared(outcomes: Sequence[Prepared | NotPrepared]) -> list[Prepared]:
    """The outcomes of `prepare_each`, where each tenant is prepared.

    Raises:
        PrepareError: one or more could not be; it holds dbt's own messages.
    """
    if failures := [item.reason for item in outcomes if isinstance(item, NotPrepared)]:
        raise PrepareError("\n\n".join(failures))
    return [item for item in outcomes if isinstance(item, Prepared)]


def prepare_each(
    tenants: Sequence[TenantSettings],
    profiles_dir_of: Callable[[TenantSettings], Path],
    host: Mapping[str, str],
    *,
    force: bool = False,
    progress: Progress = lambda _tenant, _step: None,
) -> list[Prepared | NotPrepared]:
    """Prepare what is stale, several tenants side by side, each whatever becomes of the others.

    Args:
        tenants: the tenants to look at.
        profiles_dir_of: where a tenant's profiles.yml is.
        host: this process's environment, see `dbt_environment`.
        force: prepare what is fresh, too, from nothing.
        progress: told of each step of each tenant, from several threads.

    Returns:
        The outcomes, in the order of the tenants.
    """

    def one(settings: TenantSettings) -> Prepared | NotPrepared:
        try:
            result = _prepare_one(settings, profiles_dir_of(settings), host, force, progress)
        except ApolloError as error:
            progress(settings, "failed")
            return NotPrepared(settings, str(error))
        except OSError as error:
            progress(settings, "failed")
            reason = (
                f"Tenant {settings.tenant.name}: {error.filename or settings.paths.prepared}: "
                f"{os.strerror(error.errno or 0)}. Make the instance directory (DAGSTER_HOME) "
                "writable and give it room."
            )
            return NotPrepared(settings, reason)
        except Exception as error:  # noqa: BLE001
            # a project is what no code foresaw: the others are prepared all the same
            _log.exception("Tenant %s cannot be prepared", settings.tenant.name)
            progress(settings, "failed")
            reason = (
                f"Tenant {settings.tenant.name} cannot be prepared: {type(error).__name__} in "
                "Apollo, a defect; the log has its traceback. Report it."
            )
            return NotPrepared(settings, reason)
        progress(settings, "fresh" if result.was_fresh else "done")
        return result

    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        try:
            return list(pool.map(one, tenants))
        except BaseException:  # Ctrl-C: the threads end when their processes do
            _stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(_running):
                stop_dbt(process)
            raise


def _prepare_one(
    settings: TenantSettings,
    profiles_dir: Path,
    host: Mapping[str, str],
    force: bool,  # noqa: FBT001
    progress: Progress,
) -> Prepared:
    settings.tenant.require_sound()
    with _locked(settings.paths.prepared, settings, progress):
        # looked at again under the lock: another process may have just done it
        note = settings.paths.prepared / FAILURE_FILE
        if not force and check_freshness(settings).is_fresh:
            note.unlink(missing_ok=True)  # what failed has been undone
            state = _read_state(settings.paths.prepared)
            return Prepared(settings, True, _findings(state.get("unrouted", ())))
        try:
            _make_environment(settings, host, force, progress)
            environment = dbt_environment(settings, profiles_dir, host)
            result = _build(settings, environment, force, progress)
        except PrepareError as error:
            note.write_text(str(error), encoding="utf-8")
            raise
        note.unlink(missing_ok=True)
        return result


def _make_environment(
    settings: TenantSettings,
    host: Mapping[str, str],
    force: bool,  # noqa: FBT001
    progress: Progress,
) -> None:
    """Make the tenant's own environment, if it has one that is not there yet."""
    interpreter = interpreter_of(settings)
    if interpreter.environment is None:
        return
    # the targets of a tenant share it, and each is prepared by itself
    with _locked(settings.paths.environments, settings, progress):
        if force or not interpreter.is_there:
            progress(settings, "environment")
            make_environment(settings, interpreter, host, _run_uv)
    require_usable(settings, interpreter)


def _run_uv(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    _require_not_stopping()
    process = start_process(command, folder, environment)
    with _noted(process):
        output = output_of(process)
    _require_not_stopping()
    return subprocess.CompletedProcess(command, process.returncode, output)


def _build(
    settings: TenantSettings,
    environment: Mapping[str, str],
    force: bool,  # noqa: FBT001
    progress: Progress,
) -> Prepared:
    folder = settings.paths.prepared
    project_dir = settings.tenant.project_dir
    with _staging(folder) as staging:
        if not force and (folder / PARTIAL_PARSE_FILE).exists():
            shutil.copy(folder / PARTIAL_PARSE_FILE, staging)  # dbt parses only what changed
        if any((project_dir / file).exists() for file in _PACKAGE_FILES[:2]):
            progress(settings, "deps")
            _run_dbt(settings, ["deps"], staging, environment)
        looked_at = time.time_ns()
        before = fingerprint(settings, {}, looked_at=0)
        progress(settings, "parse")
        _run_dbt(settings, ["parse"], staging, environment)
        manifest = read_manifest(staging / MANIFEST_FILE)
        unrouted = unrouted_nodes(manifest)
        if settings.schema:
            unrouted = []  # DBT_SCHEMA decides instead
        if unrouted and settings.snowflake:
            raise PrepareError(unrouted_message(settings, unrouted))
        write_digest(manifest, staging / DIGEST_FILE)
        (folder / STATE_FILE).unlink(missing_ok=True)
        sizes = {file: _size(staging / file) for file in _RESULT_FILES}
        for file in _RESULT_FILES:
            _sync(staging / file)
            (staging / file).replace(folder / file)
        state = {
            "digest": before.digest,
            "looked_at": looked_at,
            "sizes": sizes,
            "unrouted": [vars(finding) for finding in unrouted],
            "files": before.files,
        }
        # not orjson: it refuses names of files that are not UTF-8
        (staging / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        _sync(staging / STATE_FILE)
        (staging / STATE_FILE).replace(folder / STATE_FILE)
    return Prepared(settings, False, tuple(unrouted))


def _run_dbt(
    settings: TenantSettings,
    arguments: Sequence[str],
    target_path: Path,
    environment: Mapping[str, str],
) -> None:
    """Run one dbt command to its end.

    Raises:
        PrepareError: it failed; dbt's own messages are in the text.
    """
    _require_not_stopping()
    project_dir = settings.tenant.project_dir
    silence = _patience_for_packages(project_dir) if arguments[0] == "deps" else None
    variables = {
        **_NO_QUESTIONS,
        "DBT_DOWNLOADS_DIR": os.fspath(target_path / "downloads"),
        **environment,
        "DBT_TARGET_PATH": os.fspath(target_path),
        "DBT_LOG_PATH": os.fspath(target_path),
        "DBT_LOG_FORMAT": "json",
        "DBT_LOG_FORMAT_FILE": "debug",
    }
    process = start_dbt(
        with_variables(arguments, settings.tenant.config.vars),
        interpreter=interpreter_of(settings),
        project_dir=project_dir,
        environment=variables,
    )
    try:
        with _noted(process):
            downloads = Path(variables["DBT_DOWNLOADS_DIR"])
            output = output_of(process, silence=silence, growing=downloads)
    except TimeoutError:
        raise PrepareError(
            f"dbt {arguments[0]} for tenant {settings.tenant.name} has got no answer for "
            f"{silence} seconds. {UNREACHABLE}"
        ) from None
    if process.returncode != 0:
        messages = error_messages(output)
        raise PrepareError(
            f"dbt {arguments[0]} failed for tenant {settings.tenant.name} "
            f"({settings.tenant.project_dir}), exit code {process.returncode}:\n"
            f"{messages}\n{mend_of(messages, settings.tenant)}"
        )


def _patience_for_packages(project_dir: Path) -> int:
    """How many seconds `dbt deps` may say and receive nothing."""
    for name in _PACKAGE_FILES:
        with contextlib.suppress(OSError):
            if re.search(rb"\b(git|tarball)\b", (project_dir / name).read_bytes()):
                return _GIT_SILENCE_SECONDS
    return _DEPS_SILENCE_SECONDS


@contextlib.contextmanager
def _noted(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Let Ctrl-C find a process, and leave none behind."""
    _running.add(process)
    try:
        yield
    finally:
        stop_dbt(process)
        _running.discard(process)


@contextlib.contextmanager
def _locked(folder: Path, settings: TenantSettings, progress: Progress) -> Iterator[None]:
    """Hold a folder's lock; the system releases it with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _require_not_stopping()
                if not waiting:
                    progress(settings, "waiting")
                waiting = True
                time.sleep(_LOOK_EVERY_SECONDS)
        yield


def _require_not_stopping() -> None:
    if _stopping.is_set():
        raise PrepareError("The preparation was interrupted. Run `apollo prepare` again.")


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """An empty folder for dbt's results; what a killed process left in it is removed."""
    staging = folder / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(state, dict) or "digest" not in state:
        return {}
    shapes = [state.get("files"), state.get("sizes")]
    return state if all(isinstance(shape, dict) for shape in shapes) else {}


def _findings(state: Sequence[Mapping[str, str]]) -> tuple[SchemaFinding, ...]:
    return tuple(SchemaFinding(**item) for item in state)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
