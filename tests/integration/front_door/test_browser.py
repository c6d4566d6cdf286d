"""The front door in headless Chromium."""

from collections.abc import Iterator
from pathlib import Path

import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, Page, expect

from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.services.contract import CodeServer
from tests.integration.conftest import MakeDatabase, environment, free_port
from tests.integration.front_door import tenants_location
from tests.integration.front_door.process import Webserver, webserver
from tests.integration.front_door.site import PASSWORDS, limited_user, variables
from tests.ui.support import open_browser

pytestmark = pytest.mark.ui

WIDTHS = (1280, 400)
_PATIENCE = 60_000


@pytest.fixture(scope="module")
def running(
    make_database: MakeDatabase,
    _migrated_template: str,
    code_server: CodeServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Webserver]:
    address = f"{code_server.host}:{code_server.port}"
    environ = variables(APOLLO_PUBLIC_URL="", APOLLO_CODE_SERVER_SHOP=address)
    home = tmp_path_factory.mktemp("webserver")
    with webserver(home, make_database(_migrated_template), **environ) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture
def page(browser: Browser, running: Webserver) -> Iterator[Page]:
    """A tab on which the browser must not complain: of a policy, a script, a missing file."""
    context = browser.new_context(base_url=running.url, viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda it: complaints.append(it.text) if it.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert complaints == []


def sign_in(page: Page, name: str, path: str = "/") -> None:
    page.goto(path)
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORDS[name])
    page.get_by_role("button", name="Sign in").click()


def test_somebody_signs_in_works_and_signs_out(page: Page, running: Webserver) -> None:
    sign_in(page, "otto", "/runs")
    page.wait_for_url("**/runs")
    account = page.get_by_role("link", name="otto")
    expect(account).to_be_visible()
    account.click()
    expect(page.get_by_text("look, launch, re-execute, terminate")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    page.goto("/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_link_to_the_account_covers_nothing_of_dagster_s(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    sign_in(page, "ada", "/")
    for path in (
        "/overview/activity/timeline",
        "/runs",
        "/assets",
        "/deployment/daemons",
        "/locations/shop/jobs/talk",
        "/locations/shop/jobs/talk/playground",
        "/asset-groups",
    ):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        link = page.locator(".apollo-account")
        expect(link).to_be_visible()
        covered = page.evaluate(COVERED)
        assert covered == [], (path, covered)


COVERED = """() => {
    const link = document.querySelector('.apollo-account').getBoundingClientRect();
    const controls = ['a', 'button', 'input', 'textarea'].map(it => `#__next ${it}`).join();
    return [...document.querySelectorAll(controls)]
        .filter(it => {
            const box = it.getBoundingClientRect();
            return box.width && box.height && box.left < link.right && box.right > link.left
                && box.top < link.bottom && box.bottom > link.top;
        })
        .map(it => it.outerHTML.slice(0, 200));
}"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_apollo_s_pages_fit_and_can_be_used_by_keyboard(
    page: Page, width: int, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/auth/sign-in")
    name = f"Token-{width}-{scheme}".lower()
    focused = page.evaluate("document.activeElement.id")
    assert focused == "name"
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORDS["ada"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    for path in ("/auth/account", "/auth/tokens", "/auth/audit"):
        page.goto(path)
        too_wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not too_wide, path
    page.goto("/auth/tokens")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text("apollo_")
    page.get_by_role("button", name=f"Revoke {name}").click()
    expect(page.get_by_text(name)).to_be_visible()
    page.goto("/auth/audit")
    expect(page.get_by_text("revoke token").first).to_be_visible()


def test_a_viewer_is_offered_nothing_that_would_be_refused(page: Page) -> None:
    sign_in(page, "vera", "/locations/shop/jobs/talk/playground")
    launchpad = page.get_by_role("tab", name="Launchpad")
    expect(launchpad).to_be_disabled(timeout=_PATIENCE)
    page.goto("/automation")
    for switch in page.get_by_role("switch").all():
        expect(switch).to_be_disabled()


def test_an_operator_launches_from_the_page(page: Page) -> None:
    sign_in(page, "otto", "/locations/shop/jobs/talk/playground")
    launch = page.get_by_role("button", name="Launch Run")
    expect(launch).to_be_enabled(timeout=_PATIENCE)
    launch.click()
    page.wait_for_url("**/runs/*")
    page.get_by_role("button", name="View tags and config").click()
    expect(page.get_by_text("apollo/launched_by: otto").first).to_be_visible(timeout=_PATIENCE)


def test_the_page_that_explores_the_api_works_under_its_policy(page: Page) -> None:
    sign_in(page, "vera", "/graphql?query=%7Binstance%7Bid%7D%7D")
    page.locator(".graphiql-container").wait_for()
    page.locator(".query-editor .CodeMirror, .graphiql-query-editor .CodeMirror").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.type("{ version }")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text('"version": "')).to_be_visible(timeout=_PATIENCE)


def test_somebody_signs_in_at_a_provider(
    browser: Browser, migrated_uri: str, code_server: CodeServer, tmp_path: Path
) -> None:
    port = free_port()
    ann = oidc_provider_mock.User(
        sub="ann", claims={"email": "ann@example.com", "email_verified": True, "groups": ["eng"]}
    )
    with oidc_provider_mock.run_server_in_thread(user_claims=[ann]) as provider:
        environ = variables(
            PORT=str(port),
            APOLLO_PUBLIC_URL=f"http://localhost:{port}",
            APOLLO_OIDC_ISSUER=f"http://localhost:{provider.server_port}",
            APOLLO_OIDC_CLIENT_ID="apollo",
            APOLLO_OIDC_CLIENT_SECRET="secret",
            APOLLO_OIDC_ROLES="eng=operator",
            APOLLO_CODE_SERVER_SHOP=f"{code_server.host}:{code_server.port}",
        )
        with webserver(tmp_path, migrated_uri, **environ) as started:
            context = browser.new_context(base_url=started.url)
            page = context.new_page()
            page.goto("/runs")
            page.get_by_role("link", name="Sign in with your organization").click()
            page.get_by_role("button", name="ann").click()
            page.wait_for_url("**/runs")
            expect(page.get_by_role("link", name="ann@example.com")).to_be_visible()
            context.close()


@pytest.fixture(scope="module")
def shared(
    make_database: MakeDatabase,
    _migrated_template: str,
    code_servers_of_tenants: tuple[CodeServer, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Webserver, str]]:
    """Tenants that share a webserver, each of which has run; the id of acme's run."""
    uri, home = make_database(_migrated_template), tmp_path_factory.mktemp("shared")
    defs = tenants_location.shared
    with (
        environment({"DAGSTER_PG_URI": uri, "DAGSTER_HOME": str(home)}),
        open_instance(home, RELEASE_CONFIG) as instance,
    ):
        ids = [
            defs.resolve_job_def(f"{name}_build")
            .execute_in_process(instance=instance, raise_on_error=False)
            .run_id
            for name in ("acme", "globex")
        ]
    environ = variables(
        APOLLO_PUBLIC_URL="",
        APOLLO_USERS=limited_user("acme"),
        **{
            f"APOLLO_CODE_SERVER_{server.name.upper()}": f"{server.host}:{server.port}"
            for server in code_servers_of_tenants
        },
    )
    with webserver(tmp_path_factory.mktemp("shared-web"), uri, **environ) as started:
        yield started, ids[0]


def test_somebody_who_is_limited_to_a_tenant_sees_only_that(
    browser: Browser, shared: tuple[Webserver, str]
) -> None:
    started, run_id = shared
    context = browser.new_context(base_url=started.url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    complaints: list[str] = []
    told: list[str] = []
    page.on("console", lambda it: complaints.append(it.text) if it.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, "lia", "/runs")
    for path, text in (
        ("/runs", "acme_build"),
        (f"/runs/{run_id}", "STEP_SUCCESS"),
        ("/assets", "acme"),
        ("/asset-groups", "orders"),
        ("/assets/acme/orders?view=overview", "rows"),
        ("/assets/acme/orders?view=checks", "acme_orders_are_there"),
        ("/assets/acme/orders?view=lineage", "orders"),
        ("/locations/shared/jobs/acme_build", "orders"),
        ("/locations/shared/jobs/acme_build/runs", "acme_build"),
        ("/automation", "acme_build_schedule"),
        ("/jobs", "acme_source_freshness"),
        ("/locations/shared/schedules/acme_build_schedule", "acme_build"),
        ("/deployment/locations", "shared"),
        ("/overview/activity/timeline", "Timeline"),
    ):
        page.goto(path)
        expect(page.get_by_text(text).first).to_be_visible(timeout=_PATIENCE)
        page.wait_for_load_state("networkidle")
        html = page.content()
        told += [f"{path}: {name}" for name in ("globex", "hooli", "initech") if name in html]
        expect(page.get_by_text("is not available for people")).to_have_count(0)
    context.close()
    assert told == []
    assert complaints == []
