"""Chromium for tests: windows on the server's pages, which record every violation."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from playwright.async_api import Browser, Page, async_playwright, expect

import db.database
from resolvers.context import Terms
from server.pages.seed import seed
from server.process.settings import Settings
from tests.sockets import Site, site

CHROMIUM = shutil.which("chromium")
# A generous limit for what an idle machine does at once, such as loading the editor, of three megabytes.
PATIENCE_SECONDS = 60

expect.set_options(timeout=1000 * PATIENCE_SECONDS)


class Window:
    """A window on one of the server's pages; most methods are for GraphiQL."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        """What the browser refused or warned of, and what went wrong in the page."""
        self.abroad: list[str] = []
        """What was asked for from elsewhere."""
        page.set_default_timeout(1000 * PATIENCE_SECONDS)
        own = re.compile(rf"(http|ws)://{re.escape(address)}/|data:")

        def asked(url: str) -> None:
            if not own.match(url):
                self.abroad.append(url)

        def complained(kind: str, text: str) -> None:
            if kind in {"warning", "error"}:
                self.complaints.append(text)

        page.on("request", lambda request: asked(request.url))
        page.on("websocket", lambda socket: asked(socket.url))
        page.on("console", lambda message: complained(message.type, message.text))
        page.on("pageerror", lambda error: complained("error", str(error)))

    async def load(self, url: str) -> None:
        """Open the page and wait until an example can run."""
        await self.page.goto(url)
        await self.loaded()

    async def loaded(self) -> None:
        await expect(self.page.locator(".graphiql-query-editor .view-line").first).to_be_visible()
        await self.until("__MONACO.editor.getModels().length == 4")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true; the page's policy blocks Playwright's own way."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self.page.evaluate(expression):  # noqa: ASYNC110 - the page has no event
                await asyncio.sleep(0.02)

    async def text(
        self, editor: Literal["operation.graphql", "variables.json", "request-headers.json", "response.json"]
    ) -> str:
        """Return all text of an editor, of which the page shows only a part."""
        text: str = await self.page.evaluate(f"{_model(editor)}.getValue()")
        return text

    async def write(self, editor: Literal["operation.graphql", "request-headers.json"], text: str) -> None:
        """Write text into an editor."""
        await self.page.evaluate(f"{_model(editor)}.setValue({json.dumps(text)})")

    async def open_tab(self, name: str) -> None:
        """Switch to an example's tab."""
        await self.page.locator(".graphiql-tab-button").get_by_text(name, exact=True).click()
        await self.until(f"/^\\w+ {name}\\b/m.test({_model('operation.graphql')}.getValue())")

    async def run(self) -> Any:
        """Run the open tab, and return the answer; of a subscription, the first."""
        await self.page.get_by_role("button", name="Execute query").click()
        return await self.answer("true")

    async def answer(self, condition: str) -> Any:
        """Wait for an answer that meets a condition, and return it."""
        found = f"{{ const text = {_model('response.json')}.getValue(); const answer = text && JSON.parse(text);"
        await self.until(f"(() => {found} return text && {condition} }})()")
        return json.loads(await self.text("response.json"))

    async def stop(self) -> None:
        """Stop the subscription."""
        await self.page.get_by_role("button", name="Stop query").click()
        await expect(self.page.get_by_role("button", name="Execute query")).to_be_visible()


def _model(editor: str) -> str:
    return f"__MONACO.editor.getModels().find(({{ uri }}) => uri.path.endsWith('{editor}'))"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run the machine's Chromium."""
    assert CHROMIUM is not None, "There is no Chromium: install Debian's package `chromium`."
    async with async_playwright() as playwright:
        # The sandbox protects from foreign pages, and root, which CI runs as, cannot use it.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def opened_window(browser: Browser, address: str, **options: Any) -> AsyncIterator[Window]:
    """Open a fresh window, and check that it requests nothing from elsewhere and reports no error."""
    async with await browser.new_context(**options) as context:
        window = Window(await context.new_page(), address)
        yield window
        assert window.abroad == []
        assert window.complaints == []


@asynccontextmanager
async def seeded_site(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve a database as after the first `videocredits serve`."""
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=60)
    await seed(database, Terms(settings.signup_credits, settings.video_cost))
    await database.close()
    async with site(settings, dsn) as opened:
        yield opened
