"""A person at a browser, who has signed in to the platform's web service."""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Error, Locator, Page, expect

from tests.ui.support import PATIENCE_SECONDS, button, until

JOB = "/locations/apollo/jobs/williamgrant_build"
_ASK = """async ([query, variables]) => {
    const answer = await fetch('/graphql', {
        method: 'POST',
        headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({query, variables}),
    });
    return {status: answer.status, body: await answer.text()};
}"""
_RUN = """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
    status tags { key value } stats { ... on RunStatsSnapshot { materializations } } } } }"""
_RUNS = """query ($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 20) { ... on Runs {
    results { runId status tags { key value } } } } }"""


@dataclass
class Person:
    """Clicks and looks; what the pages themselves ask the server for can be asked for, too.

    Args:
        page: the tab.
        url: the web service's address.
        pictures: where screenshots go.
    """

    page: Page
    url: str
    pictures: Path

    def go(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def go_to_lineage(self, selection: str) -> None:
        """Open the lineage graph of some assets."""
        self.go(f"/asset-groups~{quote(selection)}")

    def expand_groups(self) -> None:
        """Show the assets of all groups; the page takes no notice of the key while it loads."""

        def pressed() -> bool:
            self.page.keyboard.press("Alt+e")
            with contextlib.suppress(Error):  # a second press would collapse them: give it time
                self.page.wait_for_url("**expanded=**", timeout=5000)
            return "expanded=" in self.page.url

        self.page.locator("foreignObject").first.wait_for()
        until("the groups are expanded", pressed)

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def sign_in(self, name: str, password: str) -> None:
        """Fill in the form that is shown."""
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        button(self.page, "Sign in").click()

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """Ask what the pages are made from, from within a page: with its cookie and its origin."""
        answer = self.page.evaluate(_ASK, [text, variables])
        assert answer["status"] == 200, answer
        body = json.loads(answer["body"])
        assert "errors" not in body, body["errors"]
        return body["data"]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.query(_RUN, id=run_id)["runOrError"]

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        return self.query(_RUNS, filter=wanted)["runsOrError"]["results"]

    def build_all(self) -> str:
        """Launch the tenant's build from its page, and return the run that the page says it is."""
        self.go(JOB)
        return self._launched_by("Materialize all")

    def build(self, name: str) -> str:
        """Launch the build of one asset from the lineage graph."""
        self.go_to_lineage(f'key:"*{name}"')
        self.page.locator(f'foreignObject [data-tooltip="{name}"]').click()
        return self._launched_by("Materialize selected")

    def _launched_by(self, text: str) -> str:
        button(self.page, text).click()
        link = self.page.get_by_role("link", name="View", exact=True)
        href = link.get_attribute("href")
        assert href
        return href.rsplit("/", 1)[-1]

    def open_run(self, run_id: str) -> None:
        self.go(f"/runs/{run_id}")

    def open_stdout(self, run_id: str) -> Locator:
        """Show what a run prints; the step's name is not there before it has begun."""
        self.open_run(run_id)
        button(self.page, "stdout").click()
        chosen = self.page.get_by_placeholder("Select a step…")
        chosen.click()
        self.page.get_by_role("menuitem", name="williamgrant_dbt_build").or_(
            self.page.locator("li", has_text=re.compile("^williamgrant_dbt_build$"))
        ).first.click()
        return self.page.locator("body")

    def child_of(self, run_id: str) -> str:
        """The run that goes on with another; none if there is none yet."""
        for run in self.runs():
            tags = {it["key"]: it["value"] for it in run["tags"]}
            if tags.get("dagster/parent_run_id") == run_id:
                return str(run["runId"])
        return ""

    def lines(self) -> int:
        """How many lines of a log the page shows (it shows the last ones)."""
        numbers = re.findall(r"^\d+$", self.page.locator("body").inner_text(), re.MULTILINE)
        return max((int(number) for number in numbers), default=0)

    def wait_for(self, run_id: str, *statuses: str, seconds: float = 3 * PATIENCE_SECONDS) -> str:
        """Wait until a run has one of these statuses, or any final one, and return which."""
        final = {"SUCCESS", "FAILURE", "CANCELED"}
        return until(
            f"run {run_id} is {' or '.join(statuses)}",
            lambda: it if (it := self.run(run_id)["status"]) in {*statuses, *final} else None,
            seconds,
        )

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text, exact=True).first).to_be_visible()
