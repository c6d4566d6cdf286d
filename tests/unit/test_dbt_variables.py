"""The variables on dbt's command line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dagster_apollo.dbt.assets import BuildConfig, build_arguments
from dagster_apollo.dbt.variables import with_variables
from dagster_apollo.errors import ApolloError

pytestmark = pytest.mark.unit

VARS = {"country": "GB", "from_year": 2020}


def given_to(arguments: list[str]) -> object:
    """What dbt reads from a command line's last two arguments."""
    *_, option, text = with_variables(arguments, VARS)
    assert option == "--vars"
    assert "\n" not in text
    return yaml.safe_load(text)


@pytest.mark.parametrize(
    "arguments",
    [["parse"], ["source", "freshness"], ["--debug", "docs", "generate"], ["run-operation", "m"]],
)
def test_every_command_gets_them(arguments):
    assert given_to(arguments) == VARS
    assert with_variables(arguments, VARS)[:-2] == arguments


@pytest.mark.parametrize("arguments", [[], ["--version"], ["--help"]])
def test_what_is_no_command_stays_as_it_is(arguments):
    assert with_variables(arguments, VARS) == arguments


def test_without_any_a_command_line_stays_as_it_is():
    assert with_variables(["run", "--vars", "[", "-s", "a"], {}) == [
        "run",
        "--vars",
        "[",
        "-s",
        "a",
    ]


@pytest.mark.parametrize("own", [["--vars", "country: FR"], ["--vars={country: FR}"]])
def test_a_commands_own_win_key_by_key(own):
    arguments = with_variables(["build", *own, "--select", "orders"], VARS)
    assert arguments[:-2] == ["build", "--select", "orders"]
    assert yaml.safe_load(arguments[-1]) == {"country": "FR", "from_year": 2020}


def test_a_run_configs_win_key_by_key():
    arguments = build_arguments(BuildConfig(vars={"country": "😀"}), ["--select", "a"])
    assert given_to(arguments) == {"country": "😀", "from_year": 2020}


@pytest.mark.parametrize("own", ["[a]", "{", "text"])
def test_what_is_no_mapping_is_refused(own):
    with pytest.raises(ApolloError, match="--vars is not a mapping"):
        with_variables(["run", "--vars", own], VARS)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9) | st.integers() | st.none()))
def test_dbt_reads_what_apollo_yml_says(variables):
    assert yaml.safe_load(with_variables(["parse", "--vars", "{}"], variables)[-1]) == variables
