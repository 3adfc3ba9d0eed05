"""Response headers for browsers, and CORS."""

import re
from dataclasses import replace
from typing import Any

import pytest
from throttled import per_hour

from server.process.settings import Settings
from tests.api import Api, headers, serving

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

APP, OTHER = "https://app.example.com", "https://app.example.com.evil.example"
QUERY = {"query": "{ __typename }"}
EVERY_KIND: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/livez", {}, 200),
    ("GET", "/nowhere", {}, 404),
    ("POST", "/graphql", {"json": QUERY}, 200),
    ("POST", "/graphql", {"json": QUERY, "headers": {"Authorization": "Bearer x"}}, 401),
    ("GET", "/graphql", {"headers": {"Accept": "text/html"}}, 200),
    ("DELETE", "/graphql", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "more", "status"), EVERY_KIND)
async def test_every_response_has_the_headers(api: Api, method: str, path: str, more: Any, status: int) -> None:
    """Every response forbids content sniffing, framing and referrers."""
    response = await api.client.request(method, path, **more)
    assert response.status_code == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    (policy,) = response.headers.get_list("Content-Security-Policy")
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert "Strict-Transport-Security" not in response.headers


async def test_tls_is_enforced_by_hsts(dsn: str, settings: Settings) -> None:
    """Responses over TLS, as a trusted proxy may state, have HSTS; a stranger's claim is ignored."""
    forwarded = {"X-Forwarded-Proto": "https"}
    async with serving(dsn, settings) as api:
        direct = await api.client.get("https://testserver/livez")
        assert direct.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert "Strict-Transport-Security" not in (await api.client.get("/livez", headers=forwarded)).headers
        answered = await api.client.post("https://testserver/graphql", json=QUERY)
        assert answered.headers["Strict-Transport-Security"] == "max-age=31536000"
    async with serving(dsn, replace(settings, trusted_proxies=("127.0.0.1/32",))) as api:
        assert "Strict-Transport-Security" in (await api.client.get("/livez", headers=forwarded)).headers
        answered = await api.client.post("/graphql", json=QUERY, headers=forwarded)
        assert "Strict-Transport-Security" in answered.headers


async def test_graphiqls_policy(api: Api) -> None:
    """GraphiQL's page has no inline script, loads only this server's files, and connects nowhere else."""
    response = await api.client.get("/graphql", headers={"Accept": "text/html"})
    policy = dict(each.split(" ", 1) for each in response.headers["Content-Security-Policy"].split("; "))
    nothing = dict.fromkeys(["default-src", "base-uri", "form-action", "frame-ancestors"], "'none'")
    own = dict.fromkeys(["script-src", "worker-src", "connect-src"], "'self'")
    inline = {"style-src": "'self' 'unsafe-inline'", "font-src": "'self' data:", "img-src": "'self' data:"}
    assert policy == nothing | own | inline
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", response.text, re.DOTALL)
    assert [text != "" for _, text in scripts] == ["application/json" in attributes for attributes, _ in scripts]


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    asked = "authorization,content-type,apollo-require-preflight"
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked}


async def test_no_other_site_may_call_unless_listed(api: Api) -> None:
    """Without a setting no other origin may call or read anything."""
    asked = await api.client.options("/graphql", headers=preflight(APP))
    answered = await api.client.post("/graphql", json=QUERY, headers={"Origin": APP})
    for response in (asked, answered):
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_listed_site_may_call(dsn: str, settings: Settings) -> None:
    """A listed origin may POST and GET with any header, read all responses, and cache the preflight for two hours."""
    async with serving(dsn, replace(settings, cors_origins=(APP, "http://localhost:3000"))) as api:
        for method in ("POST", "GET"):
            response = await api.client.options("/graphql", headers=preflight(APP, method))
            assert response.status_code == 200
            assert response.headers["Access-Control-Allow-Origin"] == APP
            assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
            allowed = response.headers["Access-Control-Allow-Headers"]
            assert allowed == preflight(APP)["Access-Control-Request-Headers"]
            assert response.headers["Access-Control-Max-Age"] == "7200"
            assert "Origin" in response.headers["Vary"]
        for token in (headers("ann"), {"Authorization": "Bearer x"}):
            response = await api.client.post("/graphql", json=QUERY, headers={"Origin": APP, **token})
            assert response.headers["Access-Control-Allow-Origin"] == APP
            assert response.headers["Access-Control-Expose-Headers"] == "X-Request-Id, Retry-After"
            assert "Origin" in response.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", [OTHER, "http://app.example.com", "https://APP.example.com", "null", "https://x"])
async def test_an_origin_is_matched_exactly(dsn: str, settings: Settings, origin: str) -> None:
    """An origin that resembles a listed one may neither call nor read."""
    async with serving(dsn, replace(settings, cors_origins=(APP,))) as api:
        response = await api.client.options("/graphql", headers=preflight(origin))
        assert response.status_code == 400
        assert "Access-Control-Allow-Origin" not in response.headers
        response = await api.client.post("/graphql", json=QUERY, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]


async def test_a_listed_site_reads_why_it_is_refused(dsn: str, settings: Settings) -> None:
    """A listed origin's page can read that it is over a limit, and when to retry."""
    settings = replace(settings, cors_origins=(APP,), rate_limit_per_address=per_hour(1))
    async with serving(dsn, settings) as api:
        responses = [await api.client.post("/graphql", json=QUERY, headers={"Origin": APP}) for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 429]
        assert [response.headers["Access-Control-Allow-Origin"] for response in responses] == [APP, APP]
        assert (await api.client.options("/graphql", headers=preflight(APP))).status_code == 200
