"""What Apollo's own pages are made of: templates, files, forms, redirects."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import jinja2
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from dagster_apollo import __version__
from dagster_apollo.web.headers import PAGE_POLICY
from dagster_apollo.web.identity import Identity

_HERE: Final = Path(__file__).parent
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 20
Endpoint = Callable[[Request], Awaitable[Response]]

_templates: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(
    template: str, *, identity: Identity | None, status: int = 200, **values: object
) -> Response:
    """A page, which no cache keeps and in which no script runs.

    Args:
        template: the file in `templates/`.
        identity: who looks at it; None: somebody who has not signed in.
        status: the HTTP status.
        values: what the template shows.
    """
    html = _templates.get_template(template).render(
        identity=identity, version=__version__, **values
    )
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(html, status, headers)


def redirect(target: str) -> Response:
    """Go on, by GET."""
    return RedirectResponse(target, 303, {"Cache-Control": "no-store"})


def static(name: str) -> Endpoint:
    """A file in `static/`."""

    async def endpoint(_request: Request) -> Response:
        return FileResponse(_HERE / "static" / name, headers={"Cache-Control": "max-age=3600"})

    return endpoint


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form; none where the body is not a form of text."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    return {name: value for name, value in form.items() if isinstance(value, str)}
