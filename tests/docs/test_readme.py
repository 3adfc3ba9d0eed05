"""The README, executed."""

import json
import re
from pathlib import Path

from server.process.settings import Settings
from tests.api import Api, headers
from tests.sockets import site

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


async def test_the_readme_shows_what_the_server_answers(api: Api) -> None:
    """The README's mutation from a new user gets the answer in the README, and a replay when sent again."""
    (document,) = re.findall(r"```graphql\n(.*?)```", README, re.DOTALL)
    variables, reply = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    await api.register()
    assert await api.post(document, variables, subject="ann") == reply
    reply["data"]["createVideoData"]["replayed"] = True
    assert await api.post(document, variables, subject="ann") == reply


async def test_the_readmes_shell_query_is_answered(api: Api) -> None:
    """The README's curl query gets no error."""
    body, _ = re.findall(r"-d '(.*?)'", README)
    await api.register()
    data = await api.query(json.loads(body)["query"])
    assert data["viewer"]["creditEntries"]["nodes"][0]["kind"] == "SIGNUP"


async def test_the_readmes_shell_subscription_is_followed(settings: Settings, dsn: str) -> None:
    """The README's curl subscription shows a new user who creates a video what the README shows."""
    _, body = re.findall(r"-d '(.*?)'", README)
    (shown,) = re.findall(r"```\n(event: next\n.*?\n)```", README, re.DOTALL)
    async with site(settings, dsn) as served:
        await served.api.register()
        request = {"Accept": "text/event-stream", **headers("ann")}
        async with served.api.client.stream("POST", "/graphql", json=json.loads(body), headers=request) as response:
            received = ""
            async for text in response.aiter_text():
                received += text
                if '"credits":10' in text:
                    await served.api.create("key")
                if '"credits":9' in text:
                    break
        await served.left()
    assert received == f":\n\n{shown}\n"
