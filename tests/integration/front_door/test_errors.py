"""What somebody is told of an error: the stack is for admins, its number for everybody."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DagsterInvariantViolationError
from sqlalchemy.exc import OperationalError

from dagster_apollo.web.errors import is_outage, told
from tests.integration.front_door.site import Site, graphql, launch, websocket

pytestmark = pytest.mark.integration

RAISES = "{ instance { daemonHealth { allDaemonStatuses { id } } } }"
CAPTURES = "{ runTagKeysOrError { __typename ... on PythonError { message stack } } }"
SUBSCRIBES = 'subscription { pipelineRunLogs(runId: "%s") { __typename } }'


@contextlib.contextmanager
def without(site: Site, *tables: str) -> Iterator[None]:
    """Let queries of tables fail."""
    with site.engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"alter table {table} rename to {table}_away")
    try:
        yield
    finally:
        with site.engine.begin() as connection:
            for table in tables:
                connection.exec_driver_sql(f"alter table {table}_away rename to {table}")


def asked(site: Site, who: str, query: str) -> Any:
    with without(site, "run_tags", "daemon_heartbeats"):
        answer = graphql(site.signed_in(who), query)
    assert answer.status_code == 503, answer.text
    return answer


def test_an_admin_is_shown_where_an_error_is_from(site: Site) -> None:
    for query in (RAISES, CAPTURES):
        text = asked(site, "ada", query).text
        assert "psycopg2" in text, "this is what others are not to see"
        assert "site-packages" in text


@pytest.mark.parametrize("who", ["vera", "otto"])
def test_others_are_told_a_number_that_is_in_the_log(
    site: Site, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    for query in (RAISES, CAPTURES):
        caplog.clear()
        text = asked(site, who, query).text
        for internal in ("psycopg2", "site-packages", "relation", "SELECT", "errorInfo"):
            assert internal not in text, internal
        (number,) = set(re.findall("Internal error ([0-9a-f]{8})", text))
        assert caplog.text.count(f"Internal error {number}: ") == 1


def test_what_is_wrong_with_the_question_itself_is_said_to_everybody(site: Site) -> None:
    answer = graphql(site.signed_in("vera"), "{ nothing }")
    assert answer.status_code == 400
    assert "Cannot query field 'nothing'" in answer.text


def test_what_dagster_says_on_purpose_is_said_to_everybody(site: Site) -> None:
    query = "mutation { stopRunningSchedule { __typename ... on PythonError { message stack } } }"
    result = graphql(site.signed_in("ada"), query).json()["data"]["stopRunningSchedule"]
    assert result["stack"]
    query = """{ repositoryOrError(repositorySelector: {repositoryName: "x",
        repositoryLocationName: "y"}) { __typename ... on PythonError { message stack } } }"""
    assert "y" in graphql(site.signed_in("vera"), query).text
    remote = DagsterInvariantViolationError("not so\n\nStack Trace:\n  File /srv/x.py")
    assert told(remote) == "not so"


def test_an_error_that_quotes_the_database_is_not_on_purpose() -> None:
    fault = OperationalError("select 1", {}, Exception("at host db.internal"))
    quoting = DagsterInvariantViolationError("at host db.internal")
    quoting.__cause__ = fault
    assert is_outage(quoting)
    assert "db.internal" not in told(quoting)
    assert not is_outage(DagsterInvariantViolationError("x"))


def test_an_error_in_a_subscription_is_told_by_role_too(site: Site) -> None:
    run = launch(site.signed_in("otto"))

    def said(who: str) -> str:
        with websocket(site.signed_in(who)) as socket:
            socket.send_json({"type": "connection_init"})
            assert socket.receive_json()["type"] == "connection_ack"
            payload = {"query": SUBSCRIBES % run["id"]}
            socket.send_json({"type": "start", "id": "1", "payload": payload})
            return str(socket.receive_json())

    assert "PipelineRunLogsSubscriptionSuccess" in said("vera"), "it works"
    with without(site, "event_logs"):
        assert "psycopg2" in said("ada")
        shown = said("vera")
    assert "psycopg2" not in shown
    assert re.search("Internal error [0-9a-f]{8}", shown)
