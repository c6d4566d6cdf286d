"""The platform's routing: its load balancer and its private DNS, as one relay of TCP connections.

A name has an address that never changes. New connections to it go to the newest instance that is
healthy; those that are open stay with the instance they went to, until one of both ends closes.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.rehearsal.blueprint import Address

_HOST = "127.0.0.1"
_CHUNK = 65536

T = TypeVar("T")


class Router:
    """Runs an event loop on a thread of its own; every method may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._targets: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._open: Counter[int] = Counter()

    def listen(self, name: str) -> Address:
        """Give a name its address; who connects is refused until `route` says where to."""

        async def start() -> Address:
            server = await asyncio.start_server(
                lambda reader, writer: self._accept(name, reader, writer), _HOST, 0
            )
            self._servers.append(server)
            return Address(_HOST, server.sockets[0].getsockname()[1])

        return self._do(start())

    def route(self, name: str, port: int) -> None:
        """Send new connections to the instance at this port."""
        self._targets[name] = port

    def connections(self, port: int) -> int:
        """How many connections are open to the instance at a port."""
        return self._open[port]

    def close(self) -> None:
        """Close every connection, and the addresses."""

        async def stop() -> None:
            for server in self._servers:
                server.close()
            for task in self._relays:
                task.cancel()
            await asyncio.gather(*self._relays, return_exceptions=True)

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _accept(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(name, reader, writer)
        finally:
            self._relays.discard(task)
            writer.close()

    async def _relay(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        port = self._targets.get(name)
        if port is None:
            return
        try:
            there, back = await asyncio.open_connection(_HOST, port)
        except OSError:
            return
        self._open[port] += 1
        try:
            ways = [asyncio.ensure_future(_copy(*way)) for way in ((reader, back), (there, writer))]
            await asyncio.wait(ways, return_when=asyncio.ALL_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._open[port] -= 1
            back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and then that no more will come."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
