"""The log that tests see."""

import json

import pytest

from tests.log import Log


@pytest.mark.parametrize(
    ("event", "reason", "shown"),
    [
        pytest.param("change_feed_lost", "TimeoutError: ", False, id="a poll that took too long"),
        pytest.param("change_feed_lost", "ConnectionResetError: lost", True, id="a connection that was lost"),
        pytest.param("change_feed_back", None, False, id="back"),
        pytest.param("request", None, True, id="a request"),
    ],
)
def test_a_slow_change_feed_is_hidden(event: str, reason: str | None, shown: bool) -> None:
    """A poll that times out, as on a busy machine, appears in no test that compares all lines."""
    log = Log()
    line = {"event": event, "logger": "any", **({"reason": reason} if reason else {})}
    for read, expected in ((log.read, [line] if shown else []), (log.read_all, [line])):
        log.stream.write(json.dumps(line) + "\n")
        assert read() == expected
