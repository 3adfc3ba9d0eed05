"""The quickstart: its page in a real browser, and who can open it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, Route, expect

import server.pages.quickstart
from resolvers.identity import Role
from server.auth.development import IDENTITIES, development_token
from server.process.settings import Settings
from tests.api import MUTATIONS, SECRET, serving
from tests.browser import CHROMIUM, Window, chromium, opened_window, seeded_site
from tests.sockets import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
HOST = "127.0.0.1:8000"
API = "**/graphql"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Serve with development keys."""
    return Settings(data_dir=tmp_path, log_level="warning")


@pytest_asyncio.fixture(loop_scope="module")
async def served(dsn: str, settings: Settings) -> AsyncIterator[Site]:
    """Serve a database as after the first `videocredits serve`: the user has 96 credits, and five videos."""
    async with seeded_site(settings, dsn) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: install Debian's package `chromium` to have the quickstart tested, too")
    async with chromium() as opened:
        yield opened


@asynccontextmanager
async def opened(browser: Browser, served: Site, **options: Any) -> AsyncIterator[Window]:
    """Open the page, and check that it requests nothing from elsewhere and reports no error."""
    async with opened_window(browser, served.address, **options) as window:
        await window.page.goto(f"http://{served.address}/quickstart")
        yield window


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, served: Site) -> AsyncIterator[Page]:
    async with opened(browser, served) as window:
        await expect(balance(window.page)).to_have_text("96")
        await expect(videos(window.page)).to_have_count(5)
        await expect(entries(window.page)).to_have_count(8)
        await expect(window.page.locator("#connection")).to_have_text("Live")
        yield window.page


def balance(page: Page) -> Any:
    return page.get_by_role("status", name="Credits")


def videos(page: Page) -> Any:
    return page.get_by_role("list", name="Your videos").get_by_role("listitem")


def entries(page: Page) -> Any:
    return page.get_by_role("list", name="Statement").get_by_role("listitem")


async def elsewhere(served: Site, settings: Settings, name: str, role: Role, **input: Any) -> dict[str, Any]:
    """Run a mutation from another program."""
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            f"http://{served.address}/graphql",
            json={"query": MUTATIONS[name], "variables": {"input": input}},
            headers={"Authorization": f"Bearer {development_token(settings, IDENTITIES[role])}"},
        )
    result: dict[str, Any] = answer.json()["data"][name]
    assert result["__typename"].endswith("Success"), result
    return result


async def create(page: Page, title: str) -> None:
    await page.get_by_label("Title").fill(title)
    await page.get_by_role("button", name="Create video").click()


def key_of(request: Request) -> str:
    key: str = json.loads(request.post_data or "")["variables"]["input"]["idempotencyKey"]
    return key


async def test_a_double_click(page: Page) -> None:
    """Two clicks before a response send two requests with one key: one video, one credit."""
    held: list[Route] = []

    async def hold(route: Route) -> None:
        if "CreateVideoData" not in (route.request.post_data or ""):
            await route.continue_()
            return
        held.append(route)
        for each in held if len(held) == 2 else []:
            await each.continue_()

    await page.route(API, hold)
    await page.get_by_label("Title").fill("Whales at night")
    await page.get_by_role("button", name="Create video").dblclick()
    await expect(page.locator("#note")).to_have_text("Queued. 95 credits left.")
    assert len(held) == 2
    assert len({key_of(route.request) for route in held}) == 1
    await expect(balance(page)).to_have_text("95")
    await expect(videos(page)).to_have_count(6)
    await expect(videos(page).first).to_contain_text("Whales at nightQueued")
    await expect(entries(page)).to_have_count(9)
    await expect(entries(page).first).to_have_text("Whales at night\N{MINUS SIGN}1Charge95 left")


async def test_a_double_click_that_is_answered_in_between(page: Page) -> None:
    """A second click after the response finds the title empty: it creates no video, and asks for a title."""
    await create(page, "Whales at night")
    await expect(page.locator("#note")).to_have_text("Queued. 95 credits left.")
    await page.get_by_role("button", name="Create video").click()
    await expect(page.get_by_label("Title")).to_be_focused()
    await expect(balance(page)).to_have_text("95")


async def test_other_programs_changes_are_shown(page: Page, served: Site, settings: Settings) -> None:
    """Balance, videos and statement follow changes made elsewhere, without a reload."""
    created = await elsewhere(
        served, settings, "createVideoData", Role.USER, title="Otters", videoStyle="anime", idempotencyKey="otters"
    )
    await expect(balance(page)).to_have_text("95")
    await expect(entries(page).first).to_have_text("Otters\N{MINUS SIGN}1Charge95 left")
    otters = videos(page).first
    await expect(otters).to_contain_text("OttersQueued")
    record = {"recordId": created["videoData"]["id"]}
    await elsewhere(
        served, settings, "updateVideoRecordStatus", Role.WORKER, **record, status="RENDERING", renderProgress=40
    )
    await expect(otters).to_contain_text("OttersRendering")
    await expect(otters.get_by_role("progressbar", name="Otters, rendered")).to_have_attribute("value", "40")
    await elsewhere(served, settings, "updateVideoRecordStatus", Role.WORKER, **record, status="FAILED")
    await expect(otters).to_contain_text("OttersFailed")
    await expect(otters.get_by_role("progressbar")).to_have_count(0)
    await expect(balance(page)).to_have_text("96")
    await expect(entries(page).first).to_have_text("Otters+1Refund96 left")


async def test_a_refusal(page: Page, served: Site, settings: Settings) -> None:
    """A user with too few credits sees the cost, and can buy credits and then create the video."""
    user_id = (await elsewhere(served, settings, "registerUser", Role.USER))["user"]["id"]
    change = {"userId": user_id, "amount": -96, "kind": "ADJUSTMENT", "idempotencyKey": "spent"}
    await elsewhere(served, settings, "adjustUserCredits", Role.ADMIN, **change)
    await expect(balance(page)).to_have_text("0")
    await create(page, "Whales at night")
    await expect(page.locator("#note")).to_have_text("A video costs 1; you have 0 left.")
    offer = page.get_by_role("region", name="What shall we film next?").get_by_role("button", name="Add 10 credits")
    await offer.click()
    await expect(page.locator("#note")).to_have_text("10 credits added.")
    await expect(offer).to_be_hidden()
    await expect(page.get_by_role("button", name="Create video")).to_be_focused()
    await expect(balance(page)).to_have_text("10")
    await page.keyboard.press("Enter")
    await expect(page.locator("#note")).to_have_text("Queued. 9 credits left.")
    await expect(entries(page).first).to_have_text("Whales at night\N{MINUS SIGN}1Charge9 left")


async def test_without_a_connection(browser: Browser, served: Site) -> None:
    """While the server is unreachable the page says so; a click during it charges once the connection is back."""
    async with opened(browser, served) as window:
        page = window.page
        await expect(balance(page)).to_have_text("96")
        lost = []

        async def lose(route: Route) -> None:
            lost.append(key_of(route.request))
            await route.abort()

        await page.route(API, lose)
        await create(page, "Whales at night")
        await expect(page.locator("#connection")).to_have_text("Reconnecting …")
        await expect(page.locator("#note")).to_have_text("No answer. Try again: nothing is charged twice.")
        await page.unroute(API)
        async with page.expect_request(API) as again:
            await page.get_by_role("button", name="Create video").click()
        assert {key_of(await again.value)} == set(lost)
        await expect(page.locator("#connection")).to_have_text("Live")
        await expect(balance(page)).to_have_text("95")
        assert all("net::ERR_FAILED" in each for each in window.complaints), window.complaints
        window.complaints.clear()


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 360, "light")]
)
async def test_how_it_looks(
    browser: Browser, served: Site, tmp_path: Path, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """In light and dark mode and on a phone everything is visible; pytest's directory has screenshots."""
    async with opened(browser, served, viewport={"width": width, "height": 800}, color_scheme=scheme) as window:
        await create(window.page, "Whales at night")
        await expect(entries(window.page).first).to_have_text("Whales at night\N{MINUS SIGN}1Charge95 left")
        await window.page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        assert await window.page.evaluate("document.documentElement.scrollWidth") == width
        ground = await window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(21, 17, 24)" if scheme == "dark" else "rgb(251, 247, 242)")


async def test_it_is_short() -> None:
    """The page, with its markup, script and styles, has less than 150 lines of at most 120 characters."""
    lines = [
        line
        for name in ("html", "ts", "css")
        for path in QUICKSTART.glob(f"*.{name}")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert 100 < len(lines) < 150
    assert max(len(line) for line in lines) <= 120


async def test_development_serves_it(dsn: str, settings: Settings) -> None:
    """With development keys the page is served uncached, with a policy that allows only its own files."""
    async with serving(dsn, settings) as api:
        response = await api.client.get("/quickstart", headers={"Host": HOST})
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
        assert "unsafe" not in policy
        strangers = await api.client.get("/quickstart", headers={"Host": "rebound.example:8000"})
        assert strangers.status_code == 404


async def test_before_it_is_built(
    dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a checkout without a built quickstart, the page says how to build it."""
    monkeypatch.setattr(server.pages.quickstart, "_BUILT", tmp_path / "quickstart")
    async with serving(dsn, settings) as api:
        response = await api.client.get("/quickstart", headers={"Host": HOST})
    assert response.status_code == 404
    assert "run `make explorer`" in response.text


async def test_production(dsn: str) -> None:
    """With production keys neither the page nor its files are served."""
    async with serving(dsn, Settings(jwt_secret=SECRET, introspection="on", log_level="warning")) as api:
        (script,) = (Path(__file__).parents[3] / "server/pages/built/quickstart/quickstart").glob("*.js")
        for path in ("/quickstart", f"/quickstart/{script.name}"):
            assert (await api.client.get(path, headers={"Host": HOST})).status_code == 404
