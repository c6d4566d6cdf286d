"""What the collector does with pipes, and what goes to it."""

import os
import socket
import sys
from pathlib import Path

import pytest

from dagster_apollo.instance.postgres_logs.capture import capture
from dagster_apollo.instance.postgres_logs.collector import Order, Watch, pump, start_pump

pytestmark = pytest.mark.unit


def test_a_pump_keeps_and_passes_on_all_that_comes() -> None:
    source, sink = os.pipe()
    mirrored, mirror = os.pipe()
    kept: list[bytes] = []
    thread = start_pump(source, mirror, kept.append)
    os.write(sink, b"one ")
    os.write(sink, b"two")
    os.close(sink)
    thread.join(10)
    os.close(mirror)
    assert b"".join(kept) == b"one two"
    assert os.read(mirrored, 100) == b"one two"


def test_a_pump_goes_on_keeping_when_nobody_reads_what_it_passes_on() -> None:
    source, sink = os.pipe()
    mirrored, mirror = os.pipe()
    os.close(mirrored)
    os.write(sink, b"text")
    os.close(sink)
    kept: list[bytes] = []
    pump(source, mirror, kept.append)
    assert kept == [b"text"]


@pytest.mark.parametrize("end", [b"done\n", b""])
def test_the_watched_process_is_done_when_it_says_so_or_is_gone(end: bytes) -> None:
    ours, theirs = socket.socketpair()
    watch = Watch(theirs.makefile("rb"))
    assert not watch.wait(0)
    ours.sendall(end)
    ours.close()
    assert watch.wait(10)


def test_an_order_survives_and_does_not_show_the_database() -> None:
    order = Order("postgresql://apollo:hush-hush@host/database", ["a/b", "€"], 65_536)
    assert Order.from_line(order.to_line()) == order
    assert order.to_line().count(b"\n") == 1
    assert "hush-hush" not in repr(order)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux lists open files there")
def test_a_collector_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError), capture(Order("", ["a"], 65_536)):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
