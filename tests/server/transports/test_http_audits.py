"""The audits for servers that the authors of the GraphQL over HTTP specification publish (npm's graphql-http)."""

import json
from pathlib import Path

from server.process.settings import Settings
from tests.db.test_cancellation import listening
from tests.node import node

DIRECTORY = Path(__file__).parents[2] / "audits"


async def test_every_audit_passes(settings: Settings, dsn: str) -> None:
    """A server on a socket passes all 61 audits: every MUST, SHOULD and MAY."""
    async with listening(settings, dsn) as (_, base_url):
        output = await node(DIRECTORY, "audits.js", f"{base_url}/graphql")
    audits = [json.loads(line) for line in output.splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len({audit["id"] for audit in audits}) == 61
