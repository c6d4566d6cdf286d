"""The addresses that services serve at."""

import socket

from dagster_apollo.errors import ApolloError


def require_free(host: str, port: int) -> None:
    """Make sure that nobody serves at an address.

    gRPC would share it without a word, and uvicorn says no more than an error's number.

    Raises:
        ApolloError: somebody does, or it is no address of this host.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ApolloError(
            f"PORT: {host}:{port} cannot be served at ({error.strerror}). Set PORT, --port or "
            "--host to an address of this host that is free; a service that is just being stopped "
            "keeps its own until it has ended."
        ) from None
