"""What is shown of dbt's output when it failed."""

import json

import pytest

from dagster_apollo.dbt.messages import error_messages, mend_of
from dagster_apollo.tenants import load_tenant

pytestmark = pytest.mark.unit

TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "registry.py", line 168, in _get_index\n'
    "    resp = requests.get(url)\n"
    "           ^^^^^^^^^^^^^^^^^\n"
    "ConnectionError: no such host\n"
    "\n"
    "During handling of the above exception, another exception occurred:\n"
    "\n"
    "Traceback (most recent call last):\n"
    '  File "deps.py", line 289, in run\n'
    "RuntimeError: the hub cannot be reached"
)


def line(message: str, level: str = "error") -> str:
    return json.dumps({"info": {"level": level, "msg": message}})


def output(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def test_errors_are_shown_and_nothing_else():
    text = error_messages(output(line("Running", "info"), "plain", line("it broke\nhere")))
    assert text == "  it broke\n  here"


def test_an_error_said_twice_is_shown_once():
    assert error_messages(output(line("it broke"), line("it broke"))) == "  it broke"


def test_a_traceback_beside_its_text_is_left_out():
    text = error_messages(output(line("the hub cannot be reached"), line(TRACEBACK)))
    assert text == "  the hub cannot be reached"


def test_of_a_traceback_alone_the_exceptions_are_shown():
    text = error_messages(output(line(TRACEBACK)))
    assert "RuntimeError: the hub cannot be reached" in text
    assert "File" not in text
    assert "Traceback" not in text


def test_frames_within_a_message_are_left_out():
    text = error_messages(output(line(f"Internal error\n{TRACEBACK}\nreport it")))
    assert text.startswith("  Internal error\n  ConnectionError: no such host")
    assert text.endswith("  report it")
    assert "File" not in text


def test_without_errors_the_end_of_the_output_is_shown():
    text = error_messages(output(line("Running", "info"), *map(str, range(30))))
    assert text.splitlines() == [f"  {number}" for number in range(10, 30)]


def test_bytes_that_are_no_text_are_shown_all_the_same():
    assert error_messages(b"\xff broke") == "  \N{REPLACEMENT CHARACTER} broke"


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("REGION", "its value under `env:`, or its name under `env_from:`"),
        ("DBT_ENV_SECRET_T", "Set DBT_ENV_SECRET_T in the environment (where several"),
        # apollo.yml may not name it, so the advice would lead to the next error
        ("SNOWFLAKE_WAREHOUSE", "SNOWFLAKE_WAREHOUSE: Apollo decides this one"),
    ],
)
def test_the_mend_of_a_missing_variable_is_one_that_can_be_followed(make_tenants, name, mend):
    tenant = load_tenant(make_tenants() / "dbt_acme")
    assert mend in mend_of(f"  Env var required but not provided: '{name}'", tenant)
