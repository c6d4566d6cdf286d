"""What a database's revision means."""

import pytest

from dagster_apollo.instance.schema import SchemaState, judge

pytestmark = pytest.mark.unit

KNOWN = frozenset({"one", "two"})


@pytest.mark.parametrize(
    ("revision", "state"),
    [(None, "missing"), ("one", "behind"), ("two", "current"), ("three", "ahead")],
)
def test_a_revision_is_judged_by_what_the_code_knows(revision: str | None, state: str) -> None:
    assert judge(revision, "two", KNOWN) == state


def test_the_state_says_both_revisions() -> None:
    text = str(SchemaState("Dagster", None, "two", "missing"))
    assert text == "Dagster's schema is missing: it is without any revision, the code at two"
