"""Take the README's picture: credits fall in one window of GraphiQL while another creates a video. Needs Chromium."""

import asyncio
import signal
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from playwright.async_api import Browser

from tests.browser import Window, chromium
from tests.server.test_cli import serving

PICTURE = Path(__file__).with_name("live.webp")
WIDTH, HEIGHT = 1220, 800

FRAME = """<!doctype html><style>
  body {{ margin: 0; background: white; font: 600 17px/1.3 system-ui, sans-serif; color: #3b4b68; width: {width}px }}
  figure {{ margin: 0 0 14px; border: 1px solid #d5dae3; border-radius: 10px; overflow: hidden }}
  figcaption {{ padding: 9px 16px; background: #e3e7ef }}
  img {{ display: block; width: 100%; height: 380px; object-fit: cover; object-position: top }}
</style>{figures}"""
FIGURE = '<figure><figcaption>{caption}</figcaption><img src="data:image/png;base64,{image}"></figure>'


async def opened(browser: Browser, address: str, example: str) -> Window:
    """Open GraphiQL in a new window, at the tab of an example, with its variables out of sight."""
    page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    window = Window(page, urlsplit(address).netloc)
    await window.load(address)
    await window.open_tab(example)
    await page.get_by_role("button", name="Hide editor tools").click()
    return window


async def shown(window: Window) -> str:
    """Take the picture of the document and the answer, without the tabs above and the tools beside, in base64."""
    await window.page.mouse.move(1, 1)  # Away from what it explains.
    await asyncio.sleep(1)  # What moves comes to rest.
    return b64encode(await window.page.locator("#graphiql-session").screenshot()).decode()


async def take(browser: Browser, address: str) -> bytes:
    """Have one window follow the balance and another create a video, and return the picture of both."""
    follower = await opened(browser, address, "ViewerUpdated")
    before = (await follower.run())["data"]["viewerUpdated"]["user"]["credits"]
    pictures = {f"1. This window follows the balance: {before} credits.": await shown(follower)}
    creator = await opened(browser, address, "CreateVideoData")
    await creator.run()
    pictures["2. Another window creates a video."] = await shown(creator)
    await follower.answer(f"answer.data.viewerUpdated.user.credits === {before - 1}")
    pictures[f"3. The first window, untouched, shows {before - 1} credits, and why."] = await shown(follower)

    frame = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    figures = "".join(FIGURE.format(caption=caption, image=image) for caption, image in pictures.items())
    await frame.set_content(FRAME.format(width=WIDTH, figures=figures))
    area = await frame.locator("body").bounding_box()
    assert area is not None
    devtools = await frame.context.new_cdp_session(frame)  # Playwright itself writes no WebP.
    picture = await devtools.send(
        "Page.captureScreenshot", {"format": "webp", "captureBeyondViewport": True, "clip": {**area, "scale": 1}}
    )
    return b64decode(picture["data"])


async def main() -> None:
    with TemporaryDirectory() as directory, serving(Path(directory)) as served:
        async with chromium() as browser:
            PICTURE.write_bytes(await take(browser, served.address))
        served.stop(signal.SIGTERM)
    print(PICTURE)


if __name__ == "__main__":
    asyncio.run(main())
