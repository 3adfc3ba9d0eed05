"""The page at /quickstart: an app's page, made of `examples/quickstart`, on development servers."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from server.pages.page import BUILT, files, filled, tokens
from server.process.settings import Settings

_BUILT = BUILT / "quickstart"
_NOT_BUILT = "The quickstart has not been built in this checkout: run `make explorer`, and load this page anew.\n"

# The page's own files, and calls to this server.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def routes(settings: Settings) -> list[Route]:
    """List what leads to the page and its files: nothing, unless development keys are in use."""

    async def page(request: Request) -> Response:
        signed_in = tokens(settings, request.headers.get("Host"), request.scope["client"])
        if not signed_in:
            raise HTTPException(404)
        if not _BUILT.exists():
            return PlainTextResponse(_NOT_BUILT, 404)
        return filled(_BUILT / "index.html", signed_in, _POLICY)

    return (
        [Route("/quickstart", page, methods=["GET"]), files(_BUILT / "quickstart")] if settings.development_keys else []
    )
