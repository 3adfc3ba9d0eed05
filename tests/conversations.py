"""Random conversations over one HTTP connection, byte by byte: what clients, proxies and attackers may send."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from random import Random
from typing import NamedTuple
from uuid import UUID

from resolvers.identity import Identity, Role
from schema.node import UserKey, VideoKey, encode_id
from server.auth.tokens import mint_token
from tests.api import MUTATIONS, SECRET

BODY_BYTES_MAX = 20_000  # of both servers
DOCUMENTS = {
    "typename": "{ __typename }",
    "page": "query($first: Int) { viewer { videos(first: $first) { nodes { id } } } }",
}
ORIGIN = "https://app.example"
TOKEN_SECONDS = 86_400

VIEWER = "{ viewer { id credits videos { nodes { id title status } pageInfo { endCursor } } } }"
VIDEO = "query Video($id: ID!) { videoData(id: $id) { id title status createdAt } }"
TWO = "query One { one: __typename } mutation Two { registerUser(input: {}) { __typename } }"
LARGE = '{ __type(name: "VideoData") { fields { name description } } }'  # Its response is compressed.
FOLLOW = "subscription Follow { viewerUpdated { user { id credits } } }"


class Conversation(NamedTuple):
    """Some requests, and how they are sent."""

    messages: tuple[bytes, ...]
    cuts: tuple[tuple[int, bool], ...]  # where to split the bytes, and whether to wait for all responses so far
    ends: bool = False  # The client shuts down its side before it gets a response.

    def pieces(self) -> list[tuple[bytes, bool]]:
        """Return the pieces to send, and whether the client waits after each."""
        whole = b"".join(self.messages)
        places = [*sorted(dict(self.cuts).items()), (len(whole), False)]
        starts = [0, *(place for place, _ in places)]
        return [(whole[start:end], waits) for start, (end, waits) in zip(starts, places, strict=False)]

    def one_by_one(self) -> "Conversation":
        """Return the same requests, each sent whole after the previous response."""
        places = [sum(map(len, self.messages[:count])) for count in range(1, len(self.messages))]
        return self._replace(cuts=tuple((place, True) for place in places))

    def __str__(self) -> str:
        waits = {True: "  # and waits", False: ""}
        lines = [f"    {piece!r}{waits[wait]}" for piece, wait in self.pieces()]
        return "\n".join([*lines, "    and shuts its side down"] if self.ends else lines)


class Writer:
    """Generates a conversation, always the same for a seed.

    It has its own users, whose answers depend on no other conversation.
    """

    def __init__(self, seed: int, *, may_leave: bool = True) -> None:
        self.random = Random(seed)
        self.name = f"user-{seed}"
        self.peer = f"peer-{seed}"  # another user, whose token is as long
        self.address = f"10.{seed >> 16 & 255}.{seed >> 8 & 255}.{seed & 255}"
        self.user_id = encode_id(UserKey(Identity(self.name, Role.USER).user_id))
        self.style: dict[str, str] = {}
        self.ends = may_leave and self.random.random() < 0.05

    def conversation(self) -> Conversation:
        random = self.random
        self.style = self._style()
        messages = [self._message() for _ in range(random.choice([1, 2, 3, 4, 6]))]
        if random.random() < 0.1:
            messages.insert(random.randint(1, len(messages)), random.choice(GARBAGE))
        if random.random() < 0.05:
            messages[-1] = messages[-1][: random.randint(0, len(messages[-1]))]
        conversation = Conversation(tuple(messages), ())
        size = sum(map(len, messages))
        match random.choices(["alone", "at once", "cut", "both"], [6, 2, 3, 1])[0]:
            case "alone":
                conversation = conversation.one_by_one()
            case "cut":
                conversation = conversation._replace(cuts=self._cuts(size))
            case "both":
                conversation = conversation._replace(cuts=(*conversation.one_by_one().cuts, *self._cuts(size)))
        return conversation._replace(ends=self.ends)

    def _cuts(self, size: int) -> tuple[tuple[int, bool], ...]:
        count = self.random.choice([1, 1, 2, 3, 8])
        return tuple((self.random.randint(0, size), self.random.random() < 0.6) for _ in range(count))

    def _style(self) -> dict[str, str]:
        """Choose what a client sends with every request."""
        random = self.random
        style = {"Host": "x", "Content-Type": "application/json"}
        if random.random() < 0.6:
            style["X-Forwarded-For"] = self.address
        for name, values in STYLES.items():
            if random.random() < 0.3:
                style[name] = random.choice(values)
        if random.random() < 0.8:
            style["Authorization"] = self._authorization(0.95)
        names = list(style)
        if random.random() < 0.3:
            random.shuffle(names)
        change = random.choice(NAME_CHANGES)
        return {change(name): style[name] for name in names}

    def _authorization(self, right: float) -> str:
        random = self.random
        if random.random() < right:
            role = random.choices(list(Role), [8, 1, 1])[0]
            subject = random.choice([self.name, self.name, self.peer]) if role is Role.USER else role.value
            return f"Bearer {token(subject, role)}"
        return random.choice(WRONG_TOKENS)()

    def _change_token(self) -> None:
        for name in self.style:
            if name.lower() == "authorization":
                self.style[name] = self._authorization(0.9)

    def _message(self) -> bytes:
        random = self.random
        body = self._body()
        if random.random() < 0.6:
            if random.random() < 0.3:
                self._change_token()
            return message("POST /graphql HTTP/1.1", [*self.style.items(), ("Content-Length", str(len(body)))], body)
        line = random.choice(LINES) if random.random() < 0.4 else "POST /graphql HTTP/1.1"
        headers = list(self.style.items())
        if random.random() < 0.4:
            headers = [each for each in headers if each[0].lower() != "authorization"]
            if random.random() < 0.8:
                headers.append(("Authorization", self._authorization(0.6)))
        for _ in range(random.choice([0, 0, 0, 1, 1, 2, 3])):
            headers.insert(random.randint(0, len(headers)), random.choice(HEADERS))
        if random.random() < 0.2:
            name = random.choice(headers)[0]
            headers = [each for each in headers if each[0] != name]
        framing, body = random.choice(FRAMINGS)(random, body) if random.random() < 0.3 else framed(random, body)
        headers.insert(random.randint(0, len(headers)), framing)
        written = message(line, headers, body)
        if random.random() < 0.1:
            written = self._broken(written)
        return written

    def _broken(self, written: bytes) -> bytes:
        """Write one line of a head differently, valid or not."""
        random = self.random
        head, end, body = written.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        index = random.randrange(len(lines))
        lines[index] = random.choice(LINE_CHANGES)(lines[index])
        return b"\r\n".join(lines) + end + body

    def _body(self) -> bytes:
        random = self.random
        if random.random() < 0.15:
            return random.choice(ODD_BODIES)
        asked = dict(random.choice(READS) if self.ends or random.random() < 0.6 else self._mutation())
        if random.random() < 0.15:
            asked.update(random.choice(ADDITIONS))
        body = json.dumps(asked, ensure_ascii=random.random() < 0.7).encode(errors="surrogatepass")
        if random.random() < 0.05:
            place = random.randint(0, len(body))
            body = body[:place] + random.choice([b"\0", b"\xff", b'"', b"{", b"9" * 30, b" "]) + body[place:]
        return body

    def _mutation(self) -> dict[str, object]:
        random = self.random
        key = f"{self.name} {random.randint(0, 2)}"
        name, given = random.choice(
            [
                ("registerUser", {}),
                ("registerUser", {}),
                (
                    "createVideoData",
                    {"title": random.choice(["Whales", "Wale é"]), "videoStyle": "a", "idempotencyKey": key},
                ),
                ("createVideoData", {"title": "", "videoStyle": "a", "idempotencyKey": "\ud800"}),
                ("adjustUserCredits", {"userId": self.user_id, "amount": 5, "kind": "PURCHASE", "idempotencyKey": key}),
                ("adjustUserCredits", {"userId": self.user_id, "amount": 2**40, "kind": "X", "idempotencyKey": key}),
                ("cancelVideoData", {"recordId": VIDEO_ID}),
                ("updateVideoRecordStatus", {"recordId": VIDEO_ID, "status": "READY"}),
            ]
        )
        return {"query": _without_queue(MUTATIONS[name]), "variables": {"input": given}}


def message(line: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [line, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@cache
def token(subject: str, role: Role, secret: str = SECRET, seconds: int = TOKEN_SECONDS) -> str:
    return mint_token(
        secret,
        role=role,
        subject=subject,
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=seconds,
    )


def _without_queue(document: str) -> str:
    """Remove what other users' videos change."""
    return document.replace(" queuePosition", "")


VIDEO_ID = encode_id(VideoKey(Identity("nobody", Role.USER).user_id, UUID(int=7)))

WRONG_TOKENS: list[Callable[[], str]] = [
    lambda: f"Bearer {token('ann', Role.ADMIN, 'another secret, which is long enough too')}",
    lambda: f"Bearer {token('ann', Role.USER, SECRET, -60)}",
    lambda: f"bearer {token('ann', Role.USER)}",
    lambda: f"Bearer  {token('ann', Role.USER)}",
    lambda: f"Bearer {token('ann', Role.USER)}\t",
    lambda: f"Bearer {token('ann', Role.USER)}x",
    lambda: f"Bearer {token('ann', Role.USER)}, Bearer x",
    lambda: token("ann", Role.USER),
    lambda: "Bearer",
    lambda: "Bearer a.b.c",
    lambda: "Bearer é",
    lambda: "Basic YTpi",
    lambda: "Bearer " + "x" * 9_000,
    lambda: "",
]

ACCEPTS = [
    *("application/json", "application/graphql-response+json", "*/*", "application/*", "text/event-stream"),
    *("text/html", "text/plain", "", ",", "application/json;q=0"),
    *("multipart/mixed;subscriptionSpec=1.0, application/json", 'multipart/mixed;subscriptionSpec="1.0";q=0.5, */*'),
    *("text/event-stream, application/json", "application/json;q=0.5, text/event-stream;q=0.4", "APPLICATION/JSON"),
    *("multipart/mixed", "application/json;q=2", "application/json; charset=utf-8", "\xe9"),
]
STYLES = {
    "Accept": [
        *["application/json", "application/graphql-response+json, application/json;q=0.9", "*/*"] * 10,
        *ACCEPTS,
    ],
    "Accept-Encoding": ["gzip, deflate, br, zstd", "gzip", "br", "zstd", "identity", "gzip;q=0, br", "*", ""],
    "Origin": [ORIGIN, "https://evil.example", "null", ""],
    "X-Forwarded-For": ["203.0.113.7", "203.0.113.7, 127.0.0.1", "2001:db8::1", "unknown", "a, b", "203.0.113.7:80"],
    "X-Forwarded-Proto": ["https", "http", "wss", "HTTPS", "x"],
    "Connection": ["keep-alive", "Keep-Alive", "TE"],
    "User-Agent": ["a client"],
}
HEADERS = [
    *(("Accept", each) for each in ACCEPTS),
    *((name, each) for name, values in STYLES.items() for each in values),
    *(("Content-Type", each) for each in ("application/json", "application/json; charset=utf-8", "text/plain", "")),
    ("Content-Type", "application/json;charset=latin-1"),
    ("Content-Type", 'Application/JSON; charset="UTF-8"'),
    *(("Content-Encoding", each) for each in ("identity", "gzip", "Identity", "")),
    *(("Connection", each) for each in ("close", "Close", "keep-alive, close", "", "x", "upgrade", "TE, Upgrade")),
    *(("Expect", each) for each in ("100-continue", "100-Continue", "x", "")),
    *(("Upgrade", each) for each in ("h2c", "websocket", "TLS/1.0", "")),
    *(("Host", each) for each in ("x", "", "x:1", "a b")),
    *(("TE", "trailers"), ("Cookie", "a=b"), ("X-Request-Id", "mine"), ("Sec-Fetch-Site", "cross-site"), ("Vary", "x")),
    *(("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x"), ("Range", "bytes=0-1")),
    *(("If-None-Match", "*"), ("X", "é\xff"), ("X", ""), ("X-Long", "x" * 9_000), ("GraphQL-Require-Preflight", "1")),
]
LINES = [
    *("POST /graphql HTTP/1.0", "POST /graphql? HTTP/1.1", "POST /graphql?a=b HTTP/1.1", "POST /graphql/ HTTP/1.1"),
    *("POST //graphql HTTP/1.1", "POST /%67raphql HTTP/1.1", "POST http://x/graphql HTTP/1.1"),
    *("POST /graphql#a HTTP/1.1", "POST /nowhere HTTP/1.1", "POST graphql HTTP/1.1", "POST /graphql HTTP/2.0"),
    *("POST /graphql HTTP/1.2", "POST /graphql", "POST  /graphql HTTP/1.1", "\r\nPOST /graphql HTTP/1.1"),
    *("POST /graphql HTTP/1.1 ", "POST\t/graphql HTTP/1.1", "post /graphql HTTP/1.1", "CONNECT x:1 HTTP/1.1"),
    *("GET /graphql?query={__typename} HTTP/1.1", "GET /graphql HTTP/1.1", "HEAD /graphql?query={__typename} HTTP/1.1"),
    *("GET /graphql?query=%7Bviewer%7Bid%7D%7D HTTP/1.0", "GET /graphql?query=% HTTP/1.1", "GET /livez HTTP/1.1"),
    *("OPTIONS /graphql HTTP/1.1", "OPTIONS * HTTP/1.1", "PUT /graphql HTTP/1.1", "DELETE /graphql HTTP/1.1"),
    *("PATCH /graphql HTTP/1.1", "TRACE /graphql HTTP/1.1", "GET / HTTP/1.1"),
]
GARBAGE = [
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"x", b"\r\n\r\n\r\n\r\n", b"GET", b"\x16\x03\x01\x02\x00\x01"),
    *(b"HTTP/1.1 200 OK\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /graphql HTTP/1.1\r\nHost: x\r\n"),
    *(b" POST /graphql HTTP/1.1\r\n\r\n", b"a: b\r\n\r\n"),
]
NAME_CHANGES: list[Callable[[str], str]] = [str, str, str.lower, str.upper]
LINE_CHANGES: list[Callable[[bytes], bytes]] = [
    lambda line: line.replace(b": ", b":", 1),
    lambda line: line.replace(b": ", b":  \t", 1),
    lambda line: line.replace(b": ", b" : ", 1),
    lambda line: line.replace(b": ", b"", 1),
    lambda line: line + b" ",
    lambda line: line + b"\t \t",
    lambda line: line + b"\r\n  folded",
    lambda line: line + b"\r\n\tfolded",
    lambda line: line + b"\r\n" + line,
    lambda line: line + b"\n",
    lambda line: line + b"\r",
    lambda line: line + b"\0",
    lambda line: line + b"\xff",
    lambda line: b" " + line,
    lambda line: line.upper(),
    lambda line: line.lower(),
    lambda line: line.swapcase(),
    lambda line: b": " + line,
    lambda _: b"",
]


def framed(_: Random, body: bytes) -> tuple[tuple[str, str], bytes]:
    return ("Content-Length", str(len(body))), body


def _length(form: str) -> Callable[[Random, bytes], tuple[tuple[str, str], bytes]]:
    return lambda _, body: (("Content-Length", form.format(len(body), len(body) + 1, len(body) - 1)), body)


def _chunked(random: Random, body: bytes) -> tuple[tuple[str, str], bytes]:
    parts = []
    start = 0
    while start < len(body):
        size = random.choice([1, 7, 100, 5_000])
        part = body[start : start + size]
        extension = random.choice([b"", b"", b";a=b", b" "])
        parts.append(b"%x%b\r\n%b\r\n" % (len(part), extension, part))
        start += size
    parts.append(
        random.choice(
            [b"0\r\n\r\n", b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0;x\r\n\r\n", b"0\r\n", b"x\r\n"]
        )
    )
    return ("Transfer-Encoding", "chunked"), b"".join(parts)


def _coded(coding: str) -> Callable[[Random, bytes], tuple[tuple[str, str], bytes]]:
    return lambda random, body: (("Transfer-Encoding", coding), _chunked(random, body)[1])


FRAMINGS: list[Callable[[Random, bytes], tuple[tuple[str, str], bytes]]] = [
    *(_chunked, _chunked, _chunked, _coded("Chunked"), _coded("gzip, chunked"), _coded("identity")),
    *(
        _coded("chunked, gzip"),
        _coded("chunked\r\nContent-Length: 30"),
        _coded("chunked\r\nTransfer-Encoding: chunked"),
    ),
    lambda _, body: (("X", "no framing"), body),
    lambda _, body: (("Content-Length", str(len(body) + 2)), body + b"\r\n"),
    *map(
        _length,
        [
            *("0{0}", "{0:015}", "{0:016}", "{0:030}", "+{0}", "-{0}", "{0} ", " {0}", "\t{0}\t", "{0}.0", "0x{0:x}"),
            *("{0}, {0}", "{0}\r\nContent-Length: {0}", "{0}\r\nContent-Length: {1}", "", "{1}", "{2}", "0"),
            *("99999999", "9" * 16, "9" * 40, str(BODY_BYTES_MAX + 1)),
        ],
    ),
]

READS: list[dict[str, object]] = [
    {"query": VIEWER},
    {"query": VIEWER},
    {"query": "{ __typename }"},
    {"query": "{ __typename }"},
    {"query": VIDEO, "variables": {"id": VIDEO_ID}},
    {"query": VIDEO, "variables": {"id": "video_x"}},
    {"query": VIDEO, "variables": {}},
    {"query": VIDEO, "variables": {"id": 7}},
    {"query": "{ viewer { nothing } }"},
    {"query": "{ viewer {"},
    {"query": "{ a: __typename b: __typename é }"},
    {"query": LARGE},
    {"query": LARGE},
    {"query": LARGE},
    {"query": LARGE},
    {"query": TWO},
    {"query": TWO, "operationName": "One"},
    {"query": FOLLOW},
    {"query": FOLLOW.replace("viewerUpdated", "...f") + " fragment f on Subscription { viewerUpdated { __typename } }"},
    {"query": "query subscription { __typename }"},
    {"query": "{" + "a: __typename " * 300 + "}"},
    {"query": "{ __typename " + " ".join(f"a{each}: __typename" for each in range(700)) + "}"},
    {"query": "{ viewer " * 40 + "}" * 40},
    {"query": "{ __typename }" + " " * BODY_BYTES_MAX},
    {"documentId": "typename"},
    {"documentId": "page", "variables": {"first": 1}},
    {"documentId": "unknown"},
    {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(b"{ __typename }").hexdigest()}}},
    {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
    {"extensions": {"persistedQuery": {"version": 2}}},
    {
        "extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(VIEWER.encode()).hexdigest()}},
        "query": VIEWER,
    },
    {"query": "query($first: Int) { viewer { videos(first: $first) { nodes { id } } } }", "variables": {"first": 101}},
    {
        "query": "query($first: Int) { viewer { videos(first: $first) { nodes { id } } } }",
        "variables": {"first": 10**30},
    },
]
_ADDED: dict[str, list[object]] = {
    "operationName": ["Nothing", "", None, 7, "One", "\ud800"],
    "variables": [None, [], "a", {"a": "\ud800"}, {"id": VIDEO_ID, "first": -1}],
    "extensions": [None, {}, [], {"persistedQuery": None}, {"persistedQuery": []}],
    "documentId": [None, "", "typename", 7, "\udfff"],
    "query": [None, "", 7, "\ud800", "{ __typename } # \ud800", "\ufeff{ __typename }"],
    "more": [{"subscription": 1}],
}
ADDITIONS = [{name: value} for name, values in _ADDED.items() for value in values]
ODD_BODIES = [
    *(b"", b"[]", b"null", b"7", b'"text"', b"{}", b"{", b"not JSON", b"\xff\xfe", b"\xef\xbb\xbf{}", b" ", b"\0"),
    *(b'[{"query": "{ __typename }"}]', b'{"query": "{ __typename }"} ', b'{"query": "{ __typename }"}x', b"[" * 9_000),
    b'{"query": "{ __typename }", "query": "{ a: __typename }"}',
    b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    b'{"query": "{ __typename }", "variables": {"a": 1e999}}',
    b'{"query": "\\ud800"}',
    b'{"query": "{ __typename }\\u0000"}',
    b'{"query": "{ __typename }", "variables": {"a": ' + b"9" * 5_000 + b"}}",
    b'{"query": "\\u0073ubscription { viewerUpdated { __typename } }"}',
    b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001,
    b'{"query": "' + b"x" * BODY_BYTES_MAX,
    b"x" * (BODY_BYTES_MAX + 1),
    b'{"query": "{ __typename }' + b" " * (BODY_BYTES_MAX - 27) + b'"}',
]

# What differs between responses: ids that the server generates, and times.
_VOLATILE = [
    (re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"<id>"),
    (re.compile(rb"\b(video|entry|event)_[A-Za-z0-9_-]{30,}"), rb"\1_<id>"),
    (re.compile(rb'"endCursor":"[^"]*"'), b'"endCursor":"<cursor>"'),
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), b"<time>"),
    (re.compile(rb"wait \d+ s"), b"wait <n> s"),
]


def comparable(text: bytes) -> bytes:
    """Replace what differs between responses."""
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return text
