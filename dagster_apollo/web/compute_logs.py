"""Downloads of what a run printed, from any compute log manager.

Dagster 1.13 serves the files of two managers alone, which keep copies on the webserver's disk.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from dagster._core.storage.compute_log_manager import ComputeIOType, ComputeLogManager
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

_CHUNK: Final = 1024 * 1024
_STREAMS: Final = {"out": ComputeIOType.STDOUT, "err": ComputeIOType.STDERR}


def download(manager: ComputeLogManager, path: str) -> StreamingResponse:
    """Stream a log.

    Args:
        manager: keeps the logs.
        path: the parts of the log's key, and `out` or `err`, separated by slashes.

    Raises:
        HTTPException: there is no such log.
    """
    *log_key, extension = path.split("/")
    stream = _STREAMS.get(extension)
    if stream is None or not log_key or {"", ".", ".."} & set(log_key):
        raise HTTPException(404, "There is no such log.")
    first, offset = manager.get_log_data_for_type(log_key, stream, 0, _CHUNK)
    if not first:
        raise HTTPException(404, "There is no such log, or nothing in it yet.")
    name = "__".join(log_key).encode("ascii", "replace").decode().replace('"', "'")
    return StreamingResponse(
        _chunks(manager, log_key, stream, first, offset),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.{extension}"'},
    )


def _chunks(
    manager: ComputeLogManager,
    log_key: Sequence[str],
    stream: ComputeIOType,
    data: bytes | None,
    offset: int,
) -> Iterator[bytes]:
    """The log from its beginning; read ahead, so that a log being written ends here, too."""
    while data:
        yield data
        data, offset = manager.get_log_data_for_type(log_key, stream, offset, _CHUNK)
