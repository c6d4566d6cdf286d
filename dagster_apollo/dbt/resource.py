"""The tenant's DbtCliResource: bound to one project, one profile, one target and one environment.

Stock DbtCliResource copies this process's environment to dbt, asks dbt for its version and builds
an adapter of its own before every command. Here dbt gets the tenant's environment and nothing else
is started.
"""

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from dagster import AssetExecutionContext, OpExecutionContext
from packaging.version import Version
from pydantic import PrivateAttr

from dagster_apollo.dbt.drain import Drain
from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.dbt.interpreter import Interpreter, interpreter_of
from dagster_apollo.dbt.prepare import PARTIAL_PARSE_FILE
from dagster_apollo.dbt.process import start_dbt, stop_dbt
from dagster_apollo.dbt.stock import (
    DagsterDbtTranslator,
    DbtCliInvocation,
    DbtCliResource,
    DbtDagsterEventType,
    DbtManifestParam,
    DbtProject,
    validate_manifest,
)
from dagster_apollo.dbt.variables import with_variables
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.worker_locks import hold
from dagster_apollo.settings import TenantSettings

_KEPT_RUNS: Final = 20
_CHECKS: Final = "_get_result_check_keys"
_COLUMNS: Final = "_get_column_schema_metadata"
_HISTORY: Final = "_event_history_metadata"

DbtEvent = dict[str, Any]
"""One structured log line of dbt: `info` (name, level, msg, ts, ...) and `data`."""


class RunObserver:
    """Follows the dbt processes of this process, and can stop them from another thread."""

    def __init__(self, on_event: Callable[[DbtEvent], None] = lambda _event: None) -> None:
        self.on_event = on_event
        self.is_cancelled = False
        self._process: Any = None
        self._lock = threading.Lock()

    def started(self, process: Any) -> None:  # noqa: ANN401
        """Take note of a new dbt process; it is stopped at once if the run was cancelled."""
        with self._lock:
            self._process = process
            cancelled = self.is_cancelled
        if cancelled:
            stop_dbt(process)

    def cancel(self) -> None:
        """Stop dbt, now and whenever it is started again."""
        with self._lock:
            self.is_cancelled = True
            process = self._process
        if process is not None:
            stop_dbt(process)


class TenantDbtInvocation(DbtCliInvocation):
    """A dbt process whose output is drained whatever is in it, and which never outlives its run."""

    observer: RunObserver | None = None

    def _stream_asset_events(self) -> Iterator[DbtDagsterEventType]:
        """As stock, but for what is the same for all results: it is worked out once."""
        shared: dict[str, Callable[[object], Any]] = {}
        for event in self.stream_raw_events():
            if getattr(event, "is_result_event", True):
                _share(event, shared)
            yield from event.to_default_asset_events(
                manifest=self.manifest,
                dagster_dbt_translator=self.dagster_dbt_translator,
                context=self.context,
                target_path=self.target_path,
                project=self.project,
            )

    def _stream_stdout(self) -> Iterator[str | DbtEvent]:
        """Yield dbt's events, and as text what is not one."""
        stdout = self.process.stdout
        if stdout is None or stdout.closed:
            return
        drain = Drain(stdout)
        try:
            for raw_line in drain.lines():
                line = raw_line.decode(errors="replace").rstrip("\r\n")
                event = _parse_event(line)
                if event is None:
                    yield line
                    continue
                if event["info"].get("level") == "error":
                    self._error_messages.append(str(event["info"]["msg"]))
                if self.observer:
                    self.observer.on_event(event)
                yield event
        except BaseException:  # interrupted, or the reader gave up
            stop_dbt(self.process)
            drain.join()
            raise


def _share(event: Any, shared: dict[str, Callable[[object], Any]]) -> None:  # noqa: ANN401
    """Let a result answer as the first one did: which checks there are, and what no column says.

    Where dagster-dbt (0.29) has moved a name, the results work it out for themselves.
    """
    names = [_CHECKS]
    if getattr(event, _HISTORY, True) == {}:  # as good as always: it is what a macro may log
        names.append(_COLUMNS)
    for name in names:
        if name not in shared and hasattr(event, name):
            shared[name] = _only_once(getattr(event, name))
        if name in shared:
            setattr(event, name, shared[name])


def _only_once(method: Callable[[object], Any]) -> Callable[[object], Any]:
    """The answer to the first question is the answer to all: the argument is always the same."""
    answers: list[Any] = []

    def answer(argument: object) -> Any:  # noqa: ANN401
        if not answers:
            answers.append(method(argument))
        return answers[0]

    return answer


def _parse_event(line: str) -> DbtEvent | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict):
        return None
    info, data = event.get("info"), event.get("data")
    if not isinstance(info, dict) or not isinstance(data, dict) or "msg" not in info:
        return None
    return event


class TenantDbtResource(DbtCliResource):
    """Runs dbt for one tenant.

    Secrets are not fields: Dagster stores a resource's fields with every job.
    """

    _settings: TenantSettings = PrivateAttr()
    _project: DbtProject = PrivateAttr()
    _interpreter: Interpreter = PrivateAttr()
    _observer: RunObserver | None = PrivateAttr(default=None)

    def __init__(
        self, settings: TenantSettings, project: DbtProject, observer: RunObserver | None = None
    ) -> None:
        # any executable: it is not used here, and must be there although dbt's may not be
        super().__init__(project_dir=project, dbt_executable=sys.executable)
        self._settings = settings
        self._project = project
        self._interpreter = interpreter_of(settings)
        self._observer = observer

    def cli(
        self,
        args: Sequence[str],
        *,
        raise_on_error: bool = True,
        manifest: DbtManifestParam | None = None,
        dagster_dbt_translator: DagsterDbtTranslator | None = None,
        context: OpExecutionContext | AssetExecutionContext | None = None,
        target_path: Path | None = None,
    ) -> DbtCliInvocation:
        """Start dbt.

        Args:
            args: a dbt command and its options, the selection included.
            raise_on_error: whether a failure of dbt raises when its events have been read.
            manifest: the manifest to translate events with.
            dagster_dbt_translator: the translator to translate events with.
            context: the execution that dbt works for; its run id goes into the query tag.
            target_path: dbt's target directory; by default one of the run's own.

        Raises:
            ApolloError: the target directory cannot be written, or the tenant's own environment is
                not there.
        """
        run_id = context.run.run_id if context else None
        if run_id:
            self._hold(run_id)
        target_path = target_path or self._settings.paths.runs / (run_id or "adhoc")
        self._make_target_path(target_path)
        environment = dbt_environment(
            self._settings, Path(self.profiles_dir or ""), os.environ, run_id=run_id
        )
        process = start_dbt(
            with_variables(args, self._settings.tenant.config.vars),
            interpreter=self._interpreter,
            project_dir=Path(self.project_dir),
            environment={
                **environment,
                "DBT_TARGET_PATH": os.fspath(target_path),
                "DBT_LOG_PATH": os.fspath(target_path),
                "DBT_LOG_FORMAT": "json",
                "DBT_LOG_FORMAT_FILE": "debug",  # dbt.log is for people, and JSON costs dbt time
            },
        )
        invocation = TenantDbtInvocation(
            process=process,
            manifest=validate_manifest(manifest) if manifest else {},
            project=self._project,
            dagster_dbt_translator=dagster_dbt_translator or DagsterDbtTranslator(),
            project_dir=Path(self.project_dir),
            target_path=target_path,
            raise_on_error=raise_on_error,
            context=context,
            cli_version=Version(self._interpreter.versions["dbt-core"]),
        )
        invocation.observer = self._observer
        if self._observer:
            self._observer.started(process)
        return invocation

    def _hold(self, run_id: str) -> None:
        """Let others see on this host, as long as this process lives, that it executes a run."""
        home = self._settings.paths.dagster_home
        try:
            hold(home, run_id)
        except BlockingIOError:
            raise ApolloError(f"Run {run_id} is executed by another process.") from None
        except OSError as error:
            raise ApolloError(
                f"{home / 'workers'} cannot be written: {os.strerror(error.errno or 0)}. Make the "
                "instance directory (DAGSTER_HOME) writable and give it room."
            ) from None

    def _make_target_path(self, target_path: Path) -> None:
        try:
            target_path.mkdir(parents=True, exist_ok=True)
            partial_parse = self._settings.paths.prepared / PARTIAL_PARSE_FILE
            if partial_parse.exists():
                shutil.copy(partial_parse, target_path)
            _prune(self._settings.paths.runs)
        except OSError as error:
            raise ApolloError(
                f"{target_path} cannot be written: {os.strerror(error.errno or 0)}. Make the "
                "instance directory (DAGSTER_HOME) writable and give it room."
            ) from None


def _prune(runs: Path) -> None:
    """Keep the target directories of the latest runs only."""
    ages: list[tuple[float, Path]] = []
    for folder in runs.iterdir() if runs.is_dir() else ():
        with contextlib.suppress(OSError):  # another run prunes, too
            ages.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(ages, reverse=True)[_KEPT_RUNS:]:
        shutil.rmtree(folder, ignore_errors=True)
