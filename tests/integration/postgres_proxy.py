"""A proxy before a Postgres server that breaks connections at chosen moments."""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Cut = Literal["before", "after", "unnoticed"]


class Proxy:
    """Passes on what clients and the server say, until told otherwise."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        folder = parse_qs(parts.query)["host"][0]
        self._server = f"{folder}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.uri = (
            f"postgresql://postgres@127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
        )
        self.is_up = True
        self.answers = threading.Event()
        """Cleared, clients hear nothing more, and their connections stay."""
        self.answers.set()
        self.connections = 0
        self.statements: list[str] = []
        self._cut: Cut | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next_commit(self, when: Cut) -> None:
        """Break the connection that says COMMIT next.

        before: the server hears nothing of it; after: the client does not hear the answer;
        unnoticed: the server hears nothing, not even that the client is gone.
        """
        self._cut = when

    def go_down(self) -> None:
        """Break every connection, and take no new one."""
        self.is_up = False
        for pair in self._pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def come_up(self) -> None:
        self.is_up = True

    def close(self) -> None:
        self.go_down()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.is_up:
                    client.close()
                    continue
                self.connections += 1
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._pairs.append((client, server))
                threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        stream = client.makefile("rb")
        with contextlib.suppress(OSError, ValueError, struct.error):
            kind = b""  # the first message has none
            while True:
                head = stream.read(4 + len(kind))
                length = struct.unpack("!I", head[len(kind) :])[0]
                body = stream.read(length - 4)
                statement = (
                    body.rstrip(b"\0").decode(errors="replace") if kind and head[:1] == b"Q" else ""
                )
                if statement:
                    self.statements.append(statement)
                kind = b"?"
                if re.fullmatch("commit", statement, re.IGNORECASE) and self._cut:
                    cut, self._cut = self._cut, None
                    if cut == "after":
                        # the other thread is not to pass the answer on
                        client.shutdown(socket.SHUT_WR)
                        server.sendall(head + body)
                        continue
                    client.close()
                    stream.close()
                    if cut == "before":
                        server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(head + body)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self.answers.wait()
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy_before(uri: str) -> Iterator[Proxy]:
    proxy = Proxy(uri)
    try:
        yield proxy
    finally:
        proxy.close()
