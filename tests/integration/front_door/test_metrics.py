"""/metrics: for those who have signed in and see all tenants, and Prometheus can read it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dagster_apollo.web.grants import Grant
from dagster_apollo.web.roles import Role
from dagster_apollo.web.tokens import Tokens
from tests.integration.front_door.site import Site

pytestmark = pytest.mark.integration


def scrape(site: Site, token: str | None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = site.client().get("/metrics", headers=headers)
    return answer.status_code, answer.text


def test_a_scraper_with_a_token_reads_the_state_of_the_instance(site: Site) -> None:
    token = Tokens(site.engine).create("scraper", Grant(Role.VIEWER), created_by="ada", days=1)
    status, text = scrape(site, token)
    assert status == 200
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["apollo_runs", "queued"] >= 0
    assert values["apollo_database_size_bytes",] > 1_000_000
    assert scrape(site, None)[0] == 401


def test_who_is_limited_to_some_tenants_does_not_read_those_of_others(site: Site) -> None:
    grant = Grant(Role.OPERATOR, frozenset({"acme"}))
    token = Tokens(site.engine).create("limited", grant, created_by="ada", days=1)
    status, text = scrape(site, token)
    assert status == 403
    assert "apollo_" not in text
