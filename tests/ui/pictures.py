"""The pictures of the documentation, taken anew: `python -m tests.ui.pictures docs/images`."""

import json
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.ui.support import (
    TENANT,
    Site,
    button,
    expand_groups,
    find_chromium,
    serve,
    start_chromium,
)

ASSET = "mart_coming_of_age"
_NOT_SHOWN = ("Automation", "Partitions", "Latest event")
"""Rows of an asset in the graph that say nothing here."""


def take_lineage(page: Page, site: Site, path: Path) -> None:
    """An asset of a built tenant and what it is made from, with groups, checks and kinds."""
    page.goto(site.lineage(f'+key:"*{ASSET}"'))
    page.locator("button:has([aria-label=config])").click()
    for row in _NOT_SHOWN:
        page.locator("label", has_text=re.compile(f"^{row}$")).click()
    button(page, "Save").click()
    button(page, "Hide navigation").click()
    page.locator("button:has([aria-label=panel_show_right])").last.click()
    expect(page.get_by_placeholder("Jump to")).to_have_count(0)  # the graph has all the room now
    expand_groups(page)
    nodes = page.locator("foreignObject:has([aria-label=asset])")
    expect(nodes.first).to_be_visible()
    expect(nodes.get_by_text("Materialized", exact=True)).to_have_count(nodes.count())
    expect(nodes.get_by_role("img", name="done")).to_have_count(nodes.count())
    page.screenshot(path=path)


def take_run(page: Page, site: Site, run_id: str, path: Path) -> None:
    """A finished run and its events, without lines that name folders of this machine."""
    page.goto(f"{site.url}/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    page.locator("button", has_text=re.compile("Levels")).click()
    page.locator("label[for=menu-check-INFO]").click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Levels (4/6)")).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()
    page.screenshot(path=path)


def main(folder: Path) -> None:
    executable = find_chromium()
    assert executable, "there is no Chromium"
    with (
        tempfile.TemporaryDirectory() as root,
        start_chromium(executable) as browser,
        serve(Path(root)) as site,
    ):
        build = site.apollo("build", TENANT, "--json")
        assert build.returncode == 0, build.stderr
        page = browser.new_page(
            viewport={"width": 1300, "height": 900}, device_scale_factor=1.25, timezone_id="UTC"
        )
        folder.mkdir(parents=True, exist_ok=True)
        take_lineage(page, site, folder / "lineage.png")
        take_run(page, site, json.loads(build.stdout)[TENANT]["run_id"], folder / "run.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
