"""Modules that are imported when something of them is used."""

import sys
from types import ModuleType

import pytest

from dagster_apollo.dbt.deferred import Deferred, imported_later, resolve_on_access

pytestmark = pytest.mark.unit

NAME = "wsgiref.util"
"""A module that nothing here imports."""


@pytest.fixture(autouse=True)
def not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)


def test_a_name_is_imported_when_it_is_used():
    with imported_later([NAME]):
        from wsgiref.util import guess_scheme
    assert NAME not in sys.modules
    assert isinstance(guess_scheme, Deferred)
    assert guess_scheme({"HTTPS": "on"}) == "https"
    assert NAME in sys.modules


def test_what_is_imported_already_stays_as_it_is():
    with imported_later(["json"]):
        from json import loads
    assert loads("1") == 1
    assert not isinstance(loads, Deferred)


def test_a_module_gives_the_real_thing_to_those_who_ask_it():
    module = ModuleType("importer")
    with imported_later([NAME]):
        exec(f"from {NAME} import FileWrapper", vars(module))
    resolve_on_access(module)
    assert NAME not in sys.modules
    assert isinstance(module.FileWrapper, type)
    with pytest.raises(AttributeError, match="'importer' has no attribute 'other'"):
        _ = module.other
