"""Which parts of a log are kept, and how: its beginning and its end, within a number of bytes.

Positions and offsets are those of the whole log, kept or not, so that whoever follows one never
reads a byte twice. The functions here are pure, and the module imports nothing that is slow to
import: the collector needs it before anything else.
"""

import codecs
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

CHUNK_BYTES: Final = 256 * 1024
"""The most bytes of a row."""
_ROW_BYTES: Final = 16 * 1024
_CHUNKS_PER_TAIL: Final = 8
_LONGEST_CHARACTER: Final = 4
_GOES_ON: Final = range(0x80, 0xC0)
"""The bytes of a UTF-8 character after its first."""


@dataclass(frozen=True)
class Part:
    """Bytes of a log, and where they are in it."""

    position: int
    data: bytes

    @property
    def end(self) -> int:
        """The position after the last byte."""
        return self.position + len(self.data)


@dataclass(frozen=True)
class Window:
    """What is kept of a log of any length."""

    max_bytes: int

    @property
    def head(self) -> int:
        """The length of the beginning."""
        return self.max_bytes // 2

    @property
    def tail(self) -> int:
        """The length of the end, which moves on as the log grows."""
        return self.max_bytes - self.head

    @property
    def chunk(self) -> int:
        """The most bytes of a row: the end is kept by whole rows, so they are a fraction of it."""
        return min(CHUNK_BYTES, self.tail // _CHUNKS_PER_TAIL)

    @property
    def row(self) -> int:
        """Rows grow up to here, which bounds their number where little is written at a time."""
        return min(_ROW_BYTES, self.chunk)


class Backlog:
    """What was written to a log and is not stored yet; never more than the window keeps.

    One thread adds while another takes.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._length = 0
        self._head: deque[_Growing] = deque()
        self._tail: deque[_Growing] = deque()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> None:
        """Add what was written; the oldest that is not of the beginning makes room for it."""
        with self._lock:
            of_head = max(0, self._window.head - self._length)
            self._extend(self._head, data[:of_head])
            self._extend(self._tail, data[of_head:])
            self._trim()

    def take(self) -> list[Part]:
        """Hand over all parts, in order."""
        with self._lock:
            parts = [Part(it.position, bytes(it.data)) for it in (*self._head, *self._tail)]
            self._head.clear()
            self._tail.clear()
            return parts

    def restore(self, parts: Iterable[Part]) -> None:
        """Take back parts that could not be stored."""
        with self._lock:
            for part in reversed(list(parts)):
                side = self._head if part.position < self._window.head else self._tail
                side.appendleft(_Growing(part.position, bytearray(part.data)))
            self._trim()

    def __len__(self) -> int:
        with self._lock:
            return sum(len(it.data) for it in (*self._head, *self._tail))

    def _extend(self, side: "deque[_Growing]", data: bytes) -> None:
        while data:
            if not side or side[-1].end != self._length or len(side[-1].data) >= CHUNK_BYTES:
                side.append(_Growing(self._length))
            piece = data[: CHUNK_BYTES - len(side[-1].data)]
            side[-1].data += piece
            self._length += len(piece)
            data = data[len(piece) :]

    def _trim(self) -> None:
        start = self._length - self._window.tail
        while self._tail and self._tail[0].end <= start:
            self._tail.popleft()
        if self._tail and self._tail[0].position < start:
            first = self._tail[0]
            del first.data[: start - first.position]
            first.position = start


@dataclass
class _Growing:
    position: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.position + len(self.data)


def lay_out(
    parts: Sequence[Part], last: tuple[int, int] | None, window: Window
) -> tuple[bytes, list[Part]]:
    """How parts become rows, none of which crosses the end of the log's beginning.

    Args:
        parts: what is new, in order.
        last: position and size of the last row there is.
        window: what is kept.

    Returns:
        What the last row grows by, and the new rows.
    """
    rows = [row for part in parts for row in _cut(part, window)]
    if last is None or not rows:
        return b"", rows
    position, size = last
    joins = position + size == rows[0].position != window.head
    if joins and size + len(rows[0].data) <= window.row:
        return rows[0].data, rows[1:]
    return b"", rows


def _cut(part: Part, window: Window) -> Iterator[Part]:
    position, data = part.position, part.data
    while data:
        size = window.chunk
        if position < window.head:
            size = min(size, window.head - position)
        yield Part(position, data[:size])
        position, data = position + size, data[size:]


def join(
    parts: Iterable[Part], offset: int, max_bytes: int | None = None, *, is_growing: bool = False
) -> tuple[bytes, int]:
    """What a log reads from an offset on: one line stands for each gap.

    Dagster decodes each answer by itself, so an answer does not end within a character: it is
    longer by a few bytes, or, where the rest may be yet to come, shorter. Dagster takes one that is
    shorter than what it asked for as the last for now, so the lines for gaps come on top.

    Args:
        parts: what is kept from the offset on, in order.
        offset: where to begin.
        max_bytes: the most bytes of the log to give, but for the rest of a character.
        is_growing: whether more may be written after the last part.

    Returns:
        The bytes, and the offset to go on from.
    """
    answer: list[bytes] = []
    given, room = offset, max_bytes
    for part in parts:
        if part.position > given:
            if room == 0:
                break
            answer.append(gap_line(part.position - given))
            given = part.position
        data = part.data[given - part.position :]
        if room is not None:
            data = data[: _end_of_character(data, room)]
            room = max(0, room - len(data))
        if data:
            answer.append(data)
            given += len(data)
        if room == 0 and given < part.end:
            break
    if is_growing and answer and room != 0:
        missing = _begun_character(answer[-1])
        answer[-1] = answer[-1][: len(answer[-1]) - missing]
        given -= missing
    return b"".join(answer), given


def gap_line(size: int) -> bytes:
    """The line that stands for bytes which are not kept."""
    return f"\n[apollo: {size:,} bytes are not kept here]\n".encode()


def _end_of_character(data: bytes, at: int) -> int:
    """The first position from `at` on where no UTF-8 character goes on."""
    end = at
    while end < len(data) and end < at + _LONGEST_CHARACTER - 1 and data[end] in _GOES_ON:
        end += 1
    return end


def _begun_character(data: bytes) -> int:
    """How many bytes at the end are a UTF-8 character that is not whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[1 - _LONGEST_CHARACTER :])
    return len(decoder.getstate()[0])


def key_text(log_key: Sequence[str]) -> str:
    """A log key as one text: its parts, each quoted as in a URL, with slashes between them."""
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in log_key)


def key_parts(text: str) -> list[str]:
    """The log key of a text that `key_text` made."""
    return [unquote(part, errors="surrogatepass") for part in text.split("/")]
