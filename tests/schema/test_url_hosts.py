"""The operator's list of hosts for stored URLs: over HTTP, with hosts normalized as browsers do."""

from dataclasses import replace

import pytest

from resolvers.identity import Role
from server.process.settings import Settings, StartError
from tests.api import MUTATIONS, serving

SETTING = "VIDEOCREDITS_URL_HOSTS"
HOSTS = "cdn.example.com, *.example.org,.Videos.EXAMPLE,  bücher.example,xn--strae-oqa.example,203.0.113.7,localhost."

ACCEPTED = [
    "https://cdn.example.com",
    "https://CDN.Example.COM/a?b#c",
    "https://cdn.example.com:8443/a",
    "https://cdn.example.com./a",
    "https://a.example.org/",
    "https://a.b-c.under_score.example.org/",
    "https://a.videos.example/",
    "https://münchen.example.org/",
    "https://a。example.org/",
    "https://bücher.example/",
    "https://BÜCHER.example/",
    "https://xn--bcher-kva.example/",
    "https://XN--BCHER-KVA.EXAMPLE/",
    "https://straße.example/",
    "https://203.0.113.7/a",
    "https://localhost/a",
]
REFUSED = [
    "https://example.com/",
    "https://cdn.example.com.evil.example/",
    "https://evilcdn.example.com/",
    "https://a.cdn.example.com/",
    "https://cdn.example.com../",
    "https://example.org/",
    "https://.example.org/",
    "https://a..example.org/",
    "https://evilexample.org/",
    "https://a.example.org.evil.example/",
    "https://videos.example/",
    "https://evil.example/https://cdn.example.com/",
    "https://evil.example?.example.org",
    "https://evil.example#.example.org",
    "https://evil.example%2f.example.org/",
    "https://evil.example%5c.example.org/",
    "https://evil.example\uff3c.example.org/",
    "https://evil.example;.example.org/",
    "https://bucher.example/",
    "https://strasse.example/",
    "https://xn--zz--.example/",
    "https://203.0.113.8/",
    "https://[::1]/",
    "https://[::ffff:203.0.113.7]/",
]
NO_URLS = [
    "http://cdn.example.com/",
    "https://cdn.example.com@evil.example/",
    "https://evil.example\\.example.org/",
    "https://evil.example\uff0f.example.org/",
]


def test_hosts_are_normalized() -> None:
    """Commas separate the names, in any case and alphabet; `*.` or `.` stands for subdomains."""
    assert Settings.from_environment({SETTING: HOSTS}).url_hosts == (
        "cdn.example.com",
        "*.example.org",
        "*.videos.example",
        "xn--bcher-kva.example",
        "xn--strae-oqa.example",
        "203.0.113.7",
        "localhost",
    )
    assert Settings.from_environment({}).url_hosts is None


@pytest.mark.parametrize(
    "value",
    [
        *("https://cdn.example.com", "cdn.example.com:443", "cdn.example.com/", "a b", "[::1]", "::1"),
        *(",", "a.example,", "*", "*.", ".", "*..a", "..a", "*a.example", "a.*.example", "a..example", "a.example.."),
        *("x" * 64, ".".join(["x" * 60] * 5), "é" * 300, "\udcff", "❤.example"),
    ],
)
def test_an_invalid_list_of_hosts(value: str) -> None:
    """A list with anything except host names fails the start."""
    with pytest.raises(StartError, match=r"URL_HOSTS is .*: it must be host names separated by commas"):
        Settings.from_environment({SETTING: value})


async def test_only_listed_hosts(dsn: str, settings: Settings) -> None:
    """URLs of listed hosts are stored unchanged; others are refused with the allowed hosts."""
    hosts = Settings.from_environment({SETTING: HOSTS}).url_hosts
    async with serving(dsn, replace(settings, url_hosts=hosts)) as api:

        async def refusal(url: str) -> str:
            (error,) = (await api.post(MUTATIONS["registerUser"], {"input": {"picture": url}}, subject="ann"))["errors"]
            assert error["extensions"]["code"] == "BAD_USER_INPUT", url
            message: str = error["message"]
            return message

        for url in REFUSED:
            reason = (
                "at .picture: Not a URL that is accepted here: its host must be cdn.example.com or *.example.org or"
            )
            assert reason in await refusal(url), url
        for url in NO_URLS:
            assert "its host" not in await refusal(url), url
        assert await api.query("{ viewer { id } }") == {"viewer": None}
        for url in ACCEPTED:
            assert (await api.mutate("registerUser", picture=url))["user"]["picture"] == url


@pytest.mark.parametrize(
    ("mutation", "field"),
    [
        ("updateVideoRecordStatus", {"downloadUrl": "https://evil.example/"}),
        ("updateVideoData", {"audioUrl": "https://evil.example/"}),
        ("updateVideoData", {"musicTrack": {"name": "M", "url": "https://evil.example/"}}),
        ("updateVideoData", {"images": [{"image": "https://evil.example/", "start": 0, "duration": 1}]}),
    ],
)
async def test_every_url_field_is_checked(
    dsn: str, settings: Settings, mutation: str, field: dict[str, object]
) -> None:
    """The list applies to every URL of the API, however deep in an input."""
    async with serving(dsn, replace(settings, url_hosts=("cdn.example.com",))) as api:
        body = await api.post(
            MUTATIONS[mutation], {"input": {"recordId": "video_x", **field}}, subject="root", role=Role.ADMIN
        )
        assert body["errors"][0]["message"].endswith("its host must be cdn.example.com.")


async def test_without_a_list_any_host_is_accepted(dsn: str, settings: Settings) -> None:
    """Without the setting a URL may name any host."""
    async with serving(dsn, settings) as api:
        for url in [*ACCEPTED, *REFUSED]:
            assert (await api.mutate("registerUser", picture=url))["user"]["picture"] == url
