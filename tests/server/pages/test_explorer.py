"""GraphiQL in a real browser: it works without internet access, and so does each of its examples."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from resolvers.identity import Role
from server.pages.graphiql import examples
from server.process.settings import Settings
from tests.api import SECRET
from tests.browser import CHROMIUM, Window, chromium, opened_window, seeded_site
from tests.sockets import Site

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="there is no Chromium: install Debian's package `chromium` to have GraphiQL tested, too",
    ),
    pytest.mark.asyncio(loop_scope="module"),  # One browser for all: it caches the editor's compiled code.
]

LIVE = ["ViewerUpdated", "VideoDataUpdated", "VideosUpdated", "CreditEntryAdded"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Serve with development keys."""
    return Settings(data_dir=tmp_path, log_level="warning")


@pytest_asyncio.fixture(loop_scope="module")
async def served(dsn: str, settings: Settings) -> AsyncIterator[Site]:
    """Serve a database as after the first `videocredits serve`."""
    async with seeded_site(settings, dsn) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@asynccontextmanager
async def opened(browser: Browser, served: Site, **options: Any) -> AsyncIterator[Window]:
    """Open GraphiQL as for the first time, and check that it requests nothing from elsewhere and reports no error."""
    async with opened_window(browser, served.address, **options) as window:
        await window.load(f"http://{served.address}/graphql")
        yield window


@pytest_asyncio.fixture(loop_scope="module")
async def window(browser: Browser, served: Site) -> AsyncIterator[Window]:
    async with opened(browser, served) as loaded:
        yield loaded


async def test_every_example_runs(window: Window) -> None:
    """Each tab, unchanged, runs without an error, subscriptions included; none is left running."""
    for example in examples({}):
        await window.open_tab(example.name)
        await expect(window.page.get_by_role("radio", name=example.role.lower())).to_be_checked()
        answer = await window.run()
        assert answer.keys() == {"data"}, (example.name, answer)
        assert None not in answer["data"].values(), example.name
        running = window.page.get_by_role("button", name="Stop query")
        await expect(running).to_have_count(1 if example.name in LIVE else 0)


async def test_a_live_tab_follows_until_it_is_stopped(window: Window, browser: Browser, served: Site) -> None:
    """A subscription's tab shows changes made in another window; stopping it is no error, and closes the socket."""
    await window.open_tab("ViewerUpdated")
    before = (await window.run())["data"]["viewerUpdated"]["user"]["credits"]
    async with opened(browser, served) as other:
        await other.open_tab("CreateVideoData")
        await other.run()
    answer = await window.answer(f"answer.data.viewerUpdated.user.credits === {before - 1}")
    assert answer["data"]["viewerUpdated"]["entry"]["kind"] == "CHARGE"
    await window.stop()
    await served.left()
    assert json.loads(await window.text("response.json")) == answer


async def test_the_explorer_builds_a_query(window: Window) -> None:
    """A query composed in the explorer appears in the editor, and runs."""
    await window.page.get_by_role("button", name="New tab").click()
    await window.page.get_by_role("button", name="Show Explorer").click()
    explorer = window.page.locator(".graphiql-explorer-root")
    await explorer.get_by_text("viewer", exact=True).click()
    await explorer.get_by_text("credits", exact=True).click()
    await window.until("document.querySelector('.graphiql-query-editor').innerText.includes('credits')")
    answer = await window.run()
    assert answer["data"]["viewer"]["credits"] > 0


async def test_the_docs_open(window: Window) -> None:
    """The header's button shows the documentation, also on a first visit, and leaves it open when clicked again."""
    for _ in range(2):
        await window.page.get_by_role("button", name="Docs", exact=True).click()
        await expect(window.page.locator(".graphiql-doc-explorer")).to_be_in_viewport()


async def test_the_switch_of_roles(window: Window) -> None:
    """One click switches the role of a tab, and keeps its other headers and the other tabs."""
    await window.write("request-headers.json", json.dumps({"X-Mine": "kept", "Authorization": "Bearer of somebody"}))
    for role in (Role.ADMIN, Role.WORKER, Role.USER, Role.ADMIN):
        radio = window.page.get_by_role("radio", name=role.lower())
        await expect(radio).not_to_be_checked()
        await radio.check()
        headers = json.loads(await window.text("request-headers.json"))
        assert headers.keys() == {"X-Mine", "Authorization"}
        claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
        assert claims["role"] == role
    await window.write("operation.graphql", "{ users { nodes { id } } }")
    assert len((await window.run())["data"]["users"]["nodes"]) == 1
    await window.open_tab("VideoData")
    await expect(window.page.get_by_role("radio", name="user")).to_be_checked()


async def test_a_forged_token(window: Window) -> None:
    """A forged token is refused with its code and reason, over HTTP and over a socket."""
    headers = json.loads(await window.text("request-headers.json"))
    head, _, signature = headers["Authorization"].rpartition(".")
    forged = json.dumps({"Authorization": f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"})
    await window.write("request-headers.json", forged)
    await expect(window.page.get_by_role("radio", checked=True)).to_have_count(0)
    (error,) = (await window.run())["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert error["extensions"]["reason"] == "BAD_SIGNATURE"
    await window.open_tab("ViewerUpdated")
    await window.write("request-headers.json", forged)
    (error,) = (await window.run())["errors"]
    assert "4403" in error["message"]
    assert "BAD_SIGNATURE" in error["message"]
    assert all("401" in each or "4403" in each for each in window.complaints), window.complaints
    window.complaints.clear()


async def test_what_the_browser_stores(window: Window) -> None:
    """The user's own tabs and the history return with new tokens; tokens and changed examples are not stored."""
    await window.open_tab("AdminPage")
    await window.run()
    await window.write("operation.graphql", "query AdminPage { __typename }")
    await window.page.get_by_role("button", name="New tab").click()
    await window.write("operation.graphql", "query Mine { viewer { credits } }")
    await window.page.get_by_role("radio", name="worker").check()
    await window.run()
    await window.until("localStorage['videocredits:graphiql:tabState']?.includes('\"role\":\"WORKER\"')")
    assert "eyJ" not in await window.page.evaluate("JSON.stringify(localStorage)")
    await window.page.reload()
    await window.loaded()
    await expect(window.page.locator(".graphiql-tab")).to_have_count(len(examples({})) + 1)
    await window.open_tab("Mine")
    await expect(window.page.get_by_role("radio", name="worker")).to_be_checked()
    assert (await window.run())["data"] == {"viewer": None}
    await window.open_tab("AdminPage")
    assert "videoDataStats" in await window.text("operation.graphql")
    await window.page.get_by_role("button", name="Show History").click()
    await window.page.locator(".graphiql-history-item-label").get_by_text("AdminPage").first.click()
    await expect(window.page.get_by_role("radio", name="admin")).to_be_checked()


@pytest.mark.parametrize("settings", [Settings(jwt_secret=SECRET, introspection="on", log_level="warning")])
async def test_with_production_keys(window: Window) -> None:
    """With production keys the page, if served at all, offers no roles, and says where the token goes."""
    await expect(window.page.get_by_role("radio")).to_have_count(0)
    assert (await window.text("operation.graphql")).startswith("# Sign in first: ")
    (error,) = (await window.run())["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    window.complaints.clear()


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 400, "light")]
)
async def test_how_it_looks(
    browser: Browser, served: Site, tmp_path: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """In light and dark mode and in a narrow window everything is visible; pytest's directory has screenshots."""
    async with opened(browser, served, viewport={"width": width, "height": 800}, color_scheme=scheme) as window:
        await window.open_tab("CreateVideoData")
        await window.run()
        await window.page.screenshot(path=tmp_path / f"{name}.png")
        for part in (
            "header",
            ".graphiql-sidebar",
            ".graphiql-query-editor",
            ".graphiql-editor-tools",
            ".result-window",
        ):
            box = await window.page.locator(part).bounding_box()
            assert box is not None, part
            assert 0 <= box["x"] < box["x"] + box["width"] <= width, part
            assert 0 <= box["y"] < box["y"] + box["height"] <= 800, part
        dark = await window.page.evaluate("getComputedStyle(document.querySelector('.page')).backgroundColor")
        assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")
        await window.page.get_by_role("button", name="Show Explorer").click()
        await expect(window.page.locator(".graphiql-explorer-root input").first).to_be_visible()
        await expect(window.page.get_by_text("Explorer", exact=True)).to_be_in_viewport()
        await window.page.screenshot(path=tmp_path / f"{name}-explorer.png")
