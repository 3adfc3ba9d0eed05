"""Take the README's picture: credits fall in one tab of GraphiQL while another creates a video.

Needs Chromium, which is driven by its DevTools protocol, and npm, for the files that GraphiQL is made of.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

PICTURE = Path(__file__).with_name("live.webp")
WIDTH, HEIGHT, SCALE = 1000, 800, 1
# What shows the document and the answer, without the tabs above and the tools beside.
SESSION = ".graphiql-session"
ANSWER = "document.querySelector('.result-window').innerText"

FRAME = """<!doctype html><style>
  body {{ margin: 0; background: white; font: 600 17px/1.3 system-ui, sans-serif; color: #3b4b68; width: {width}px }}
  figure {{ margin: 0 0 14px; border: 1px solid #d5dae3; border-radius: 10px; overflow: hidden }}
  figcaption {{ padding: 9px 16px; background: #e3e7ef }}
  img {{ display: block; width: 100%; height: 380px; object-fit: cover; object-position: top }}
</style>{figures}"""
FIGURE = '<figure><figcaption>{caption}</figcaption><img src="data:image/png;base64,{image}"></figure>'


class Page:
    """A tab of the browser; it gets GraphiQL's files from npm, where its CDN gets them, and checks their hashes."""

    def __init__(self, socket: ClientConnection, packages: Path) -> None:
        self._socket = socket
        self._packages = packages
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                if answer := self._answers.pop(message["id"], None):
                    answer.set_result(message)
            elif message["method"] == "Fetch.requestPaused":
                await self._fulfil(message["params"])

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._send(number, method, parameters)
        message = await answer
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true, and return it."""
        async with asyncio.timeout(30):
            while not (value := await self.evaluate(expression)):  # noqa: ASYNC110 - the page sets no event
                await asyncio.sleep(0.05)
        return value

    async def run_example(self, name: str) -> None:
        """Open the tab of an example, hide its variables, and run it."""
        await self.click(
            f"[...document.querySelectorAll('.graphiql-tab')].find((tab) => tab.innerText.trim() === '{name}')"
        )
        await self.until(
            f"document.querySelector('.graphiql-query-editor').innerText.includes('{name} ') || "
            f"document.querySelector('.graphiql-query-editor').innerText.includes('{name}(')"
        )
        await self.evaluate("document.querySelector('[aria-label=\"Hide editor tools\"]')?.click()")
        await self.click("document.querySelector('.graphiql-execute-button')")

    async def click(self, element: str) -> None:
        """Click with the mouse, as a script's click moves no tab."""
        await self.call("Page.bringToFront")  # A tab behind another draws nothing.
        await self.until(f"!!{element}")
        await asyncio.sleep(2)  # What moves comes to rest.
        place = await self.until(
            f"((found) => found && (({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))"
            f"(found.getBoundingClientRect()))({element})"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def picture(self, element: str, kind: str = "png") -> str:
        """Take the picture of an element, and return it in base64."""
        await self.call("Page.bringToFront")
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)  # Away from what it explains.
        await asyncio.sleep(1)
        area = await self.evaluate(
            f"(({{x, y, width, height}}) => ({{x, y, width, height, scale: 1}}))"
            f"(document.querySelector('{element}').getBoundingClientRect())"
        )
        return str(
            (await self.call("Page.captureScreenshot", clip=area, captureBeyondViewport=True, format=kind))["data"]
        )

    async def open(self, url: str) -> None:
        await self.call("Fetch.enable", patterns=[{"urlPattern": "https://unpkg.com/*"}])
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=SCALE, mobile=False
        )
        await self.call("Page.navigate", url=url)

    async def _fulfil(self, paused: dict[str, Any]) -> None:
        found = re.fullmatch(r"https://unpkg\.com/(@?[^@]+@[^/]+)/(.+)", paused["request"]["url"])
        assert found is not None, paused["request"]["url"]
        package, path = found.groups()
        archive = self._packages / (package.removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz")
        if not archive.exists():
            npm = shutil.which("npm")
            assert npm is not None, "There is no npm: install Node.js."
            await asyncio.to_thread(
                subprocess.run, [npm, "pack", "--silent", package], cwd=self._packages, check=True, capture_output=True
            )
        with tarfile.open(archive) as files:
            content = files.extractfile(f"package/{path}")
            assert content is not None, path
            body = b64encode(content.read()).decode()
        kind = "text/css" if path.endswith("css") else "text/javascript"
        headers = {"Content-Type": kind, "Access-Control-Allow-Origin": "*"}
        await self._send(
            next(self._ids),
            "Fetch.fulfillRequest",
            {
                "requestId": paused["requestId"],
                "responseCode": 200,
                "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()],
                "body": body,
            },
        )

    async def _send(self, number: int, method: str, parameters: dict[str, Any]) -> None:
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))


@contextmanager
def started(command: list[str], told_by: str, environment: dict[str, str]) -> Iterator[str]:
    """Run a program for as long as the block lasts, and yield what it says that matches."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(told_by, line):
                yield found[1]
                return
        raise RuntimeError(f"{command[0]} has ended: {''.join(lines)}")
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def page(browser: str, packages: Path) -> AsyncIterator[Page]:
    """Open a tab."""
    async with httpx2.AsyncClient() as client:
        tab = (await client.put(f"http://{browser}/json/new?about:blank")).json()
    async with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
        opened = Page(socket, packages)
        listening = asyncio.create_task(opened.listen())
        yield opened
        listening.cancel()


async def take(directory: Path) -> bytes:
    """Have one tab follow the balance and another create a video, and return the picture of both."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "There is no Chromium: install Debian's package `chromium`."
    serve = [str(Path(sys.executable).with_name("videocredits")), "serve"]
    settings = {"VIDEOCREDITS_DATA_DIR": str(directory / "data"), "VIDEOCREDITS_PORT": "0"}
    browse = [chromium, "--headless=new", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-port=0"]
    with ExitStack() as stack:
        address = stack.enter_context(started(serve, r"(http://\S+/graphql)", settings))
        profile = f"--user-data-dir={directory / 'profile'}"
        browser = stack.enter_context(started([*browse, profile], r"listening on ws://([^/]+)/", {}))
        async with page(browser, directory) as follower, page(browser, directory) as creator:
            await follower.open(address)
            await follower.run_example("ViewerUpdated")
            before = await follower.until(f'/"credits": (\\d+)/.exec({ANSWER})?.[1]')
            figures = [(f"1. This tab follows the balance: {before} credits.", await follower.picture(SESSION))]
            await creator.open(address)
            await creator.run_example("CreateVideoData")
            await creator.until(f"{ANSWER}.includes('CreateVideoDataSuccess')")
            figures.append(("2. Another tab creates a video.", await creator.picture(SESSION)))
            after = await follower.until(f'/"credits": ({int(before) - 1})\\D/.exec({ANSWER})?.[1]')
            figures.append(
                (f"3. The first tab, untouched, shows {after} credits, and why.", await follower.picture(SESSION))
            )
            shown = "".join(FIGURE.format(caption=caption, image=image) for caption, image in figures)
            await creator.call("Page.navigate", url="about:blank")
            await creator.evaluate(f"document.write({json.dumps(FRAME.format(width=WIDTH, figures=shown))})")
            return b64decode(await creator.picture("body", "webp"))


def main() -> None:
    with TemporaryDirectory() as directory:
        PICTURE.write_bytes(asyncio.run(take(Path(directory))))
    print(PICTURE)


if __name__ == "__main__":
    main()
