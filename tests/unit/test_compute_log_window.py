"""What is kept of a log, how it is laid out in rows, and what a reader gets of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_apollo.instance.postgres_logs.window import (
    Backlog,
    Part,
    Window,
    gap_line,
    join,
    key_parts,
    key_text,
    lay_out,
)

pytestmark = pytest.mark.unit

WINDOW = Window(1024)
GAP = re.compile(rb"\n\[apollo: ([0-9,]+) bytes are not kept here\]\n")


def numbered(size: int) -> bytes:
    """Bytes each stretch of which occurs once, so that a wrong position shows."""
    return b"".join(b"%07d " % number for number in range(size // 8 + 1))[:size]


class Rows(dict[int, bytes]):
    """The rows of one stream, kept as the store keeps them."""

    length = 0

    def append(self, parts: list[Part]) -> None:
        last = max(self, default=None)
        more, new = lay_out(parts, None if last is None else (last, len(self[last])), WINDOW)
        if last is not None:
            self[last] += more
        self.update({part.position: part.data for part in new})
        if parts:
            self.length = parts[-1].end
        for position in list(self):
            if WINDOW.head <= position < self.length - WINDOW.tail:
                del self[position]

    def read(self, offset: int = 0, max_bytes: int | None = None) -> tuple[bytes, int]:
        parts = [Part(it, self[it]) for it in sorted(self) if it + len(self[it]) > offset]
        return join(parts, offset, max_bytes)


writes = st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=40)


@given(writes)
def test_the_beginning_is_whole_and_the_end_is_the_logs_own(pieces: list[tuple[int, bool]]) -> None:
    whole = numbered(sum(size for size, _ in pieces))
    rows, backlog, written = Rows(), Backlog(WINDOW), 0
    for size, ships in pieces:
        backlog.add(whole[written : written + size])
        written += size
        if ships:
            rows.append(backlog.take())
    rows.append(backlog.take())

    kept, offset = rows.read()
    assert offset == len(whole)
    assert sum(map(len, rows.values())) <= WINDOW.max_bytes
    if len(whole) <= WINDOW.max_bytes:
        assert kept == whole
        return
    head, size, tail = GAP.split(kept)
    assert head == whole[: WINDOW.head]
    assert whole.endswith(tail)
    assert WINDOW.tail - WINDOW.chunk <= len(tail) <= WINDOW.tail
    assert int(size.replace(b",", b"")) == len(whole) - len(head) - len(tail)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3000))
def test_little_pieces_do_not_make_many_rows(sizes: list[int]) -> None:
    rows, position = Rows(), 0
    for size in sizes:
        rows.append([Part(position, b"x" * size)])
        position += size
    assert len(rows) <= 2 * WINDOW.max_bytes / WINDOW.row + 3


def test_one_row_is_never_larger_than_a_chunk_nor_crosses_the_end_of_the_beginning() -> None:
    _, rows = lay_out([Part(0, numbered(5000))], None, WINDOW)
    assert max(len(row.data) for row in rows) <= WINDOW.chunk
    assert [row for row in rows if row.position < WINDOW.head < row.end] == []
    assert b"".join(row.data for row in rows) == numbered(5000)


@given(writes, st.integers(1, 300))
def test_whoever_reads_piece_by_piece_gets_what_one_reading_gives(
    pieces: list[tuple[int, bool]], max_bytes: int
) -> None:
    rows, position = Rows(), 0
    whole = numbered(sum(size for size, _ in pieces))
    for size, is_lost in pieces:
        if not is_lost:
            rows.append([Part(position, whole[position : position + size])])
        position += size
    given_, offset = [], 0
    while (answer := rows.read(offset, max_bytes))[1] != offset:
        data, offset = answer
        assert len(GAP.sub(b"", data)) <= max_bytes
        given_.append(data)
    assert b"".join(given_) == rows.read()[0]
    assert offset == rows.length or not rows


@given(st.text(alphabet="aé€😀", min_size=1, max_size=300), st.integers(1, 40), st.integers(1, 90))
def test_no_answer_ends_within_a_character(text: str, max_bytes: int, size: int) -> None:
    data = text.encode()
    parts = [Part(at, data[at : at + size]) for at in range(0, len(data), size)]
    answers, offset = [], 0
    while offset < len(data):
        rest = [part for part in parts if part.end > offset]
        answer, offset = join(rest, offset, max_bytes)
        answers.append(answer.decode())
    assert "".join(answers) == text


def test_a_character_that_has_only_begun_waits_for_its_rest() -> None:
    begun = "€€".encode()[:-1]
    assert join([Part(0, begun)], 0, is_growing=True) == ("€".encode(), 3)
    assert join([Part(0, begun)], 0, is_growing=False) == (begun, 5)
    assert join([Part(0, b"\xff\xfe")], 0, is_growing=True) == (b"\xff\xfe", 2)


def test_a_short_answer_means_that_there_is_no_more_for_now() -> None:
    parts = [Part(0, b"head"), Part(1000, b"tail")]
    answer, offset = join(parts, 0, 6)
    assert (answer, offset) == (b"head" + gap_line(996) + b"ta", 1002)
    assert join(parts, 0, 4) == (b"head", 4)
    assert join(parts, 4, 4) == (gap_line(996) + b"tail", 1004)
    assert join(parts, 500, 4) == (gap_line(500) + b"tail", 1004)
    assert join([], 1004, 4) == (b"", 1004)


def test_gaps_are_counted_for_people() -> None:
    assert gap_line(12_345_678) == b"\n[apollo: 12,345,678 bytes are not kept here]\n"


def test_a_backlog_keeps_no_more_than_the_window_and_takes_back_what_was_not_stored() -> None:
    whole = numbered(10_000)
    backlog = Backlog(WINDOW)
    backlog.add(whole[:3000])
    parts = backlog.take()
    assert len(backlog) == 0
    backlog.add(whole[3000:])
    backlog.restore(parts)
    assert len(backlog) == WINDOW.max_bytes
    kept = backlog.take()
    assert b"".join(it.data for it in kept) == whole[: WINDOW.head] + whole[-WINDOW.tail :]
    assert all(whole[it.position : it.end] == it.data for it in kept)


keys = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4)


@given(keys, keys)
def test_keys_survive_and_never_collide(one: list[str], other: list[str]) -> None:
    assert key_parts(key_text(one)) == one
    assert (key_text(one) == key_text(other)) == (one == other)
    assert key_text(one).isascii()


def test_keys_of_runs_can_be_read() -> None:
    assert key_text(["0f3a", "compute_logs", "abcdefgh"]) == "0f3a/compute_logs/abcdefgh"
    assert key_text(["a/b", "%_\0"]) == "a%2Fb/%25_%00"
