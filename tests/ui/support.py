"""What the tests of the user interface share: `apollo dev` on a tenant, and a browser."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from dagster_apollo.paths import CHECKOUT, TenantPaths

TENANT = "williamgrant"
_FOLDER = f"dbt_{TENANT}"
_NOT_COPIED = shutil.ignore_patterns("target", "dbt_packages", "logs", "__pycache__", ".user.yml")
_HOST = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TZ")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",  # as root, it refuses to run with one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_APOLLO = (sys.executable, "-m", "dagster_apollo.cli")
_IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
PATIENCE_SECONDS = 90
"""How long anything may take that depends on how busy the machine is."""

T = TypeVar("T")

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def until(what: str, look: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.25)
    return seen


@dataclass(frozen=True)
class Site:
    """A running `apollo dev`, its instance directory and its copy of the tenants."""

    url: str
    home: Path
    tenants_dir: Path
    environment: dict[str, str]

    @property
    def paths(self) -> TenantPaths:
        return TenantPaths(self.home, TENANT, "local")

    @property
    def models(self) -> Path:
        return self.tenants_dir / _FOLDER / "models"

    def lineage(self, selection: str) -> str:
        """The address of the lineage graph of some assets."""
        return f"{self.url}/asset-groups~{quote(selection)}"

    def apollo(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run an `apollo` command in the same instance."""
        return subprocess.run(
            [*_APOLLO, *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """Ask the GraphQL API that the pages are made from."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": text, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def location(self) -> dict[str, Any]:
        """The code location: whether it is loaded, and its error."""
        return self.query(
            """{ workspaceLocationEntryOrError(name: "apollo") {
                ... on WorkspaceLocationEntry {
                    loadStatus
                    locationOrLoadError {
                        ... on PythonError { message }
                    } } } }"""
        )["workspaceLocationEntryOrError"]

    def asset(self, *key: str) -> dict[str, Any] | None:
        """An asset with its latest materialization and the latest execution of its checks."""
        answer = self.query(
            """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
                ... on AssetNode {
                    description groupName kinds
                    assetMaterializations(limit: 1) { runId }
                    assetChecksOrError { ... on AssetChecks { checks {
                        name executionForLatestMaterialization { status runId }
                    } } } } } }""",
            key={"path": [TENANT, *key]},
        )["assetNodeOrError"]
        return answer or None

    def run_status(self, run_id: str) -> str:
        return self.query(
            "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
        )["runOrError"]["status"]

    def processes(self, containing: str = "") -> dict[int, str]:
        """The processes that work for this instance: the server's, the runs', dbt's."""
        return {pid: line for pid, line in _processes_of(self.home).items() if containing in line}


def _processes_of(home: Path) -> dict[int, str]:
    """Command lines of the processes in whose environment the instance directory occurs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if os.fsencode(home) in (folder / "environ").read_bytes():
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = line
    return found


@contextlib.contextmanager
def serve(root: Path) -> Iterator[Site]:
    """Run `apollo dev` on a copy of the tenant, in a new instance directory below `root`.

    It starts as a shell script's background job does, with Ctrl-C ignored, and has to end on
    SIGTERM nevertheless, leaving no process behind.
    """
    home, checkout = root / "instance", root / "checkout"
    shutil.copytree(CHECKOUT / "dbt", checkout / "dbt", ignore=_NOT_COPIED)
    tenants = checkout / "tenants"
    shutil.copytree(CHECKOUT / "tenants" / _FOLDER, tenants / _FOLDER, ignore=_NOT_COPIED)
    (home / ".nux").mkdir(parents=True)  # Dagster's greeting, over the page, has been seen
    (home / ".nux" / "nux.yaml").write_text("seen: 1\n")
    environment = {
        **{name: os.environ[name] for name in _HOST if name in os.environ},
        "DAGSTER_HOME": str(home),
        "APOLLO_TENANTS_DIR": str(tenants),
        "COLUMNS": "240",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = root / "apollo-dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_IN_BACKGROUND, *_APOLLO, "dev", "--port", str(port)],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    site = Site(f"http://127.0.0.1:{port}", home, tenants, environment)
    try:
        until("the code location is loaded", lambda: _is_up(site, process, log))
        yield site
        process.terminate()
        process.wait(60)
        until("no process is left", lambda: not site.processes(), 30)
    finally:
        for pid in site.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)


def _is_up(site: Site, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"apollo dev has ended:\n{log.read_text()[-4000:]}"
    try:
        location = site.location()
    except OSError:
        return False
    if location.get("loadStatus") != "LOADED":
        return False
    assert "message" not in location["locationOrLoadError"], location["locationOrLoadError"]
    return True


def find_chromium() -> str | None:
    """The browser's path; None where there is none."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """The machine's Chromium; the test is skipped where there is none."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("there is no Chromium; on Debian, `apt-get install chromium` brings it")
    with start_chromium(executable) as started:
        yield started


@contextlib.contextmanager
def start_chromium(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A page, and what was wrong with it so far."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def watch(self, site: Site) -> None:
        host = urlsplit(site.url).netloc

        def on_request(request: Request) -> None:
            if request.url.startswith("http") and urlsplit(request.url).netloc != host:
                self.complaints.append(f"a request to another host: {request.url}")

        def on_response(response: Response) -> None:
            if response.status >= 400:
                self.complaints.append(f"{response.status}: {response.url}")

        def on_failure(request: Request) -> None:
            if request.failure != "net::ERR_ABORTED":  # the page was left
                self.complaints.append(f"{request.failure}: {request.url}")

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.complaints.append(message.text)

        self.page.on("request", on_request)
        self.page.on("response", on_response)
        self.page.on("requestfailed", on_failure)
        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def look_for_errors(self) -> None:
        """Add what the page itself says went wrong."""
        for text in ("Something went wrong", "Unexpected GraphQL error", "Error loading"):
            if self.page.get_by_text(text).count():
                self.complaints.append(f"the page says: {text}")


@contextlib.contextmanager
def open_tab(browser: Browser, site: Site) -> Iterator[Tab]:
    """A tab of a browser that remembers nothing."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    tab = Tab(page)
    tab.watch(site)
    try:
        yield tab
    finally:
        context.close()


def node(page: Page, name: str) -> Locator:
    """An asset in the lineage graph."""
    return page.locator(f'foreignObject:has([data-tooltip="{name}"])')


def select_node(page: Page, name: str) -> None:
    """Click an asset in the lineage graph."""
    page.locator(f'foreignObject [data-tooltip="{name}"]').click()


def button(page: Page, text: str) -> Locator:
    """A button by its whole text; its accessible name begins with that of its icon."""
    return page.locator("button", has_text=re.compile(rf"^\s*{re.escape(text)}\s*$"))


def expand_groups(page: Page) -> None:
    """Show the assets of all groups in the lineage graph."""
    page.locator("foreignObject").first.wait_for()
    page.keyboard.press("Alt+e")
    page.wait_for_url("**expanded=**")


def materialize_selected(page: Page) -> str:
    """Click the button, and return the run that the page says it launched."""
    button(page, "Materialize selected").click()
    href = page.get_by_role("link", name="View", exact=True).get_attribute("href")
    assert href
    return href.rsplit("/", 1)[-1]


def outcome_on_page(page: Page) -> str:
    """Wait for the end of the run whose page this is, and return its status."""
    ends = page.get_by_text(re.compile(r"^(Success|Failure|Canceled)$")).first
    ends.wait_for()
    return ends.inner_text()
