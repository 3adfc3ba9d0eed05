"""The servers that ours is compared with: one process each, the same tables, statements, tokens and size of pool."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.stage import POOL_SIZE, Stage, running
from db.database import SESSION_SETTINGS
from db.user import ADJUST_USER_CREDITS
from db.video_data import CREATE_VIDEO_DATA, UPDATE_VIDEO_RECORD_STATUS
from tests.node import install, wheel

MERCURIUS, YOGA, POSTGRAPHILE, STRAWBERRY = PEERS = ("Mercurius", "GraphQL Yoga", "PostGraphile", "plain Strawberry")
_DIRECTORY = Path(__file__).parent
_MUTATIONS = (ADJUST_USER_CREDITS, CREATE_VIDEO_DATA, UPDATE_VIDEO_RECORD_STATUS)
_SCRIPTS = {MERCURIUS: "mercurius.js", YOGA: "yoga.js", POSTGRAPHILE: "postgraphile.js"}


@contextmanager
def started(stage: Stage, peers: Sequence[str]) -> Iterator[dict[str, Stage]]:
    """Run peers on the stage's database; yield the stage with each of them."""
    node, npm = wheel()  # Newer than most machines', which is to the peers' advantage.
    asyncio.run(install(_DIRECTORY, node, npm))
    environment = {
        "PATH": os.defpath,
        "DATABASE_URL": stage.dsn,
        "JWT_SECRET": stage.jwt_secret,
        "MUTATIONS": json.dumps({mutation.name: mutation.text for mutation in _MUTATIONS}),
        "NODE_ENV": "production",
        "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
        "POOL_SIZE": str(POOL_SIZE),
    }
    strawberry = [sys.executable, "-m", "benchmarks.peers.plain_strawberry"]
    with ExitStack() as stack:
        yield {
            peer: stack.enter_context(
                running(
                    stage,
                    peer,
                    strawberry if peer == STRAWBERRY else [node, str(_DIRECTORY / _SCRIPTS[peer])],
                    environment,
                )
            )
            for peer in peers
        }
