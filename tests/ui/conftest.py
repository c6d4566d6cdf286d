"""One `apollo dev` and one browser for all tests of the user interface."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.ui.support import Site, open_browser, open_tab, serve


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The tenant williamgrant, not built yet; the browser comes first, since without it we skip."""
    with serve(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A new tab, on which nothing may go wrong, and from which nothing may leave this machine."""
    with open_tab(browser, site) as tab:
        yield tab.page
        tab.look_for_errors()
        assert not tab.complaints
