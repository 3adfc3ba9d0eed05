"""Settings from the environment, and the errors for wrong ones."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from throttled import per_hour, per_min

from server.process.settings import VARIABLES, Settings, StartError, development_secret

SECRET = "0123456789abcdef0123456789abcdef"
JWKS = {
    "VIDEOCREDITS_JWKS_URL": "https://id.example.com/keys",
    "VIDEOCREDITS_JWT_ISSUER": "https://id.example.com/",
    "VIDEOCREDITS_JWT_AUDIENCE": "our-app",
}


def read(**values: str) -> Settings:
    return Settings.from_environment({f"VIDEOCREDITS_{name}": value for name, value in values.items()})


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(StartError) as caught:
        Settings.from_environment(environ)
    return str(caught.value).splitlines()


def test_no_setting_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty environment gives a development server on loopback, with its data in the current directory."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"PATH": "/bin", "HOME": "/nowhere"})
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == tmp_path / ".videocredits"
    assert (settings.database_url, settings.database_pool_size) == (None, 20)
    assert (settings.signup_credits, settings.video_cost) == (10, 1)
    assert (settings.jwt_secret, settings.jwks_url) == (None, None)
    assert (settings.jwt_audience, settings.jwt_issuer, settings.role_claim) == ("videocredits", "videocredits", "role")
    assert settings.request_timeout_seconds == 10
    assert (settings.body_bytes_max, settings.draft_status_codes) == (1_048_576, "off")
    assert (settings.requests_at_once_max, settings.requests_waiting_max) == (100, 200)
    assert (settings.rate_limit_per_identity, settings.rate_limit_per_address) == (per_min(600), per_min(6000))
    assert (settings.rate_limit_storage, settings.trusted_proxies, settings.cors_origins) == (None, None, None)
    assert (settings.log_format, settings.log_level) == ("console", "info")
    assert settings.development_keys
    assert settings.loopback


def test_every_setting_is_read(tmp_path: Path) -> None:
    """Each valid variable becomes the field of its name, in the field's own type."""
    settings = read(
        HOST="0.0.0.0",
        PORT="0",
        DATA_DIR=str(tmp_path),
        DATABASE_URL="postgresql://app@db:5433/videos?sslmode=require",
        DATABASE_POOL_SIZE="500",
        SIGNUP_CREDITS="0",
        VIDEO_COST="2147483647",
        CREATIONS_PER_DAY_MAX="OFF",
        STORAGE_BYTES_PER_USER_MAX="999999999999999",
        JWT_SECRET=SECRET,
        JWT_AUDIENCE="our app",
        JWT_ISSUER="https://id.example.com/",
        ROLE_CLAIM="https://example.com/role",
        REQUEST_TIMEOUT_SECONDS="2.5",
        BODY_BYTES_MAX="65536",
        DRAFT_STATUS_CODES="ON",
        REQUESTS_AT_ONCE_MAX="10000",
        REQUESTS_WAITING_MAX="0",
        CORS_ORIGINS="https://app.example.com, http://localhost:3000",
        RATE_LIMIT_PER_IDENTITY="9/HOUR",
        RATE_LIMIT_PER_ADDRESS="off",
        RATE_LIMIT_STORAGE="rediss://app:hunter2@redis",
        TRUSTED_PROXIES="10.0.0.7, fd00::/8",
        INTROSPECTION="On",
        DOCUMENTS_FILE=str(tmp_path),
        TRUSTED_DOCUMENTS_ONLY="on",
        LOG_FORMAT="console",
        LOG_LEVEL="WARNING",
    )
    assert settings == Settings(
        host="0.0.0.0",
        port=0,
        data_dir=tmp_path,
        database_url="postgresql://app@db:5433/videos?sslmode=require",
        database_pool_size=500,
        signup_credits=0,
        video_cost=2147483647,
        jwt_secret=SECRET,
        creations_per_day_max=None,
        storage_bytes_per_user_max=999_999_999_999_999,
        jwt_audience="our app",
        jwt_issuer="https://id.example.com/",
        role_claim="https://example.com/role",
        request_timeout_seconds=2.5,
        body_bytes_max=65_536,
        draft_status_codes="on",
        requests_at_once_max=10000,
        requests_waiting_max=0,
        cors_origins=("https://app.example.com", "http://localhost:3000"),
        rate_limit_per_identity=per_hour(9),
        rate_limit_per_address=None,
        rate_limit_storage="rediss://app:hunter2@redis",
        trusted_proxies=("10.0.0.7/32", "fd00::/8"),
        introspection="on",
        documents_file=tmp_path,
        trusted_documents_only="on",
        log_format="console",
        log_level="warning",
    )
    assert not settings.development_keys
    assert not settings.loopback


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "http://127.0.0.1"),
        ("HOST", "127.0.0.1:8000"),
        ("HOST", "[::1]"),
        ("HOST", "two hosts"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8_000"),
        ("PORT", "٨"),
        ("PORT", "1" * 5000),
        ("DATA_DIR", "~nobody-of-this-name/data"),
        ("DATABASE_URL", "mysql://db"),
        ("DATABASE_URL", "postgresql+asyncpg://db"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "501"),
        ("SIGNUP_CREDITS", "2147483648"),
        ("VIDEO_COST", "0"),
        ("CREATIONS_PER_DAY_MAX", "-1"),
        ("CREATIONS_PER_DAY_MAX", "none"),
        ("STORAGE_BYTES_PER_USER_MAX", "10 GB"),
        ("STORAGE_BYTES_PER_USER_MAX", "1000000000000000"),
        ("JWT_SECRET", SECRET[1:]),
        ("JWT_SECRET", "x" * 4097),
        ("JWT_SECRET", SECRET + "\udcff"),
        ("JWT_SECRET_FILE", "/nowhere/at/all"),
        ("JWT_SECRET_FILE", "/dev/zero"),
        ("ROLE_CLAIM", "sub"),
        ("ROLE_CLAIM", "a role"),
        ("JWT_AUDIENCE", "a\nb"),
        ("JWT_ISSUER", "\udcff"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "-1"),
        ("REQUEST_TIMEOUT_SECONDS", "nan"),
        ("REQUEST_TIMEOUT_SECONDS", "inf"),
        ("REQUEST_TIMEOUT_SECONDS", "3600.1"),
        ("REQUESTS_AT_ONCE_MAX", "0"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "http://app.example.com"),
        ("CORS_ORIGINS", "null"),
        ("RATE_LIMIT_PER_IDENTITY", "0/minute"),
        ("RATE_LIMIT_PER_IDENTITY", "600"),
        ("RATE_LIMIT_PER_ADDRESS", "600/day"),
        ("RATE_LIMIT_STORAGE", "memory"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.7/8"),
        ("INTROSPECTION", "yes"),
        ("DOCUMENTS_FILE", "~nobody-of-this-name/documents.json"),
        ("TRUSTED_DOCUMENTS_ONLY", "1"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value(name: str, value: str) -> None:
    """A wrong value is refused in one sentence that says what would be right."""
    name = f"VIDEOCREDITS_{name}"
    (problem,) = problems({name: value})
    assert problem.startswith(f"{name} is ")
    assert problem.endswith(f": it must be {VARIABLES[name].kind.must_be}.")


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_value(name: str) -> None:
    """An empty variable is refused: a secret that failed to arrive must not enable development keys."""
    assert f"{name} is empty: give it a value or unset it." in problems({name: ""})


def test_all_problems_at_once() -> None:
    """All errors are reported at once, one line each, unknown names with the likely intended one."""
    lines = problems(
        {
            "VIDEOCREDITS_PORT": "http",
            "VIDEOCREDITS_SIGNUP_CREDIT": "5",
            "VIDEOCREDITS_LOG_LEVEL": "loud",
            "VIDEOCREDITS_HOST": "0.0.0.0",
            "VIDEOCREDITS_XYZZY": "1",
        }
    )
    assert lines == [
        "VIDEOCREDITS_PORT is 'http': it must be a whole number from 0 to 65535.",
        "VIDEOCREDITS_SIGNUP_CREDIT is no setting: did you mean VIDEOCREDITS_SIGNUP_CREDITS?",
        "VIDEOCREDITS_LOG_LEVEL is 'loud': it must be debug, info, warning, error or critical.",
        "VIDEOCREDITS_XYZZY is no setting: unset it; `videocredits serve --help` lists the settings.",
        (
            "VIDEOCREDITS_HOST is 0.0.0.0, which other machines can reach, and there are only development keys: set "
            "VIDEOCREDITS_JWT_SECRET, VIDEOCREDITS_JWT_SECRET_FILE or VIDEOCREDITS_JWKS_URL, or listen on 127.0.0.1."
        ),
    ]


def test_kubernetes_service_variables() -> None:
    """Variables that Kubernetes creates for a Service named videocredits are not taken for typing errors."""
    lines = problems(
        {"VIDEOCREDITS_SERVICE_HOST": "10.0.0.1", "VIDEOCREDITS_PORT_8000_TCP": "tcp://10.0.0.1:8000"},
    )
    assert len(lines) == 2
    assert all("enableServiceLinks: false" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example.com", False),
        ("videos.example.com", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Development keys are allowed only on a loopback host; other keys on any host."""
    assert read(HOST=host, JWT_SECRET=SECRET).loopback is loopback
    if loopback:
        assert read(HOST=host).development_keys
    else:
        (problem,) = problems({"VIDEOCREDITS_HOST": host})
        assert "only development keys" in problem


def test_a_wrong_secret_is_one_problem() -> None:
    """A wrong secret is one error: the missing key is not reported as well."""
    (problem,) = problems({"VIDEOCREDITS_HOST": "0.0.0.0", "VIDEOCREDITS_JWT_SECRET": "short"})
    assert problem.startswith("VIDEOCREDITS_JWT_SECRET is wrong: it must be 32 to 4096 bytes")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data directory may start with ~, and a relative one becomes absolute."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert read(DATA_DIR="~/videos").data_dir == tmp_path / "videos"
    assert read(DATA_DIR="here").data_dir == tmp_path / "here"


def test_secret_from_a_file(tmp_path: Path) -> None:
    """A secret may come from a file; a final line break is not part of it."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    assert read(JWT_SECRET_FILE=str(file)).jwt_secret == SECRET
    file.write_bytes(b"\xff" * 40)
    (problem,) = problems({"VIDEOCREDITS_JWT_SECRET_FILE": str(file)})
    assert str(file) in problem


def test_a_public_key_is_no_secret() -> None:
    """A public key is refused as a secret: anybody could sign tokens with it."""
    key = generate_private_key(SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (problem,) = problems({"VIDEOCREDITS_JWT_SECRET": pem})
    assert "no public key" in problem


def test_only_one_kind_of_key(tmp_path: Path) -> None:
    """Any two sources of keys at once are refused."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    secret = {"VIDEOCREDITS_JWT_SECRET": SECRET}
    secret_file = {"VIDEOCREDITS_JWT_SECRET_FILE": str(file)}
    for first, second in ((secret, secret_file), (secret, JWKS), (secret_file, JWKS)):
        (problem,) = problems({**second, **first})
        assert problem == f"{next(iter(first))} and {next(iter(second))} exclude each other: unset all but one."


def test_jwks_needs_issuer_and_audience() -> None:
    """With an identity provider's keys, issuer and audience are required: else any tenant's token would be valid."""
    settings = Settings.from_environment(JWKS)
    assert settings.jwks_url == JWKS["VIDEOCREDITS_JWKS_URL"]
    assert not settings.development_keys
    missing = problems({"VIDEOCREDITS_JWKS_URL": JWKS["VIDEOCREDITS_JWKS_URL"]})
    assert [line.split()[0] for line in missing] == ["VIDEOCREDITS_JWT_AUDIENCE", "VIDEOCREDITS_JWT_ISSUER"]


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://id.example.com/keys?version=2", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://localhost/keys", True),
        ("http://[::1]:8080/keys", True),
        ("http://id.example.com/keys", False),
        ("http://127.0.0.1.example.com/keys", False),
        ("http://127.0.0.1@example.com/keys", False),
        ("https://name:password@id.example.com/keys", False),
        ("https:///keys", False),
        ("https://id.example.com:99999/keys", False),
        ("https://[::1/keys", False),
        ("https://id.example.com/two words", False),
        ("file:///etc/keys", False),
        ("keys", False),
    ],
)
def test_jwks_url(url: str, right: bool) -> None:
    """Keys are fetched over https, or over http from loopback; the error does not repeat the address."""
    environ = {**JWKS, "VIDEOCREDITS_JWKS_URL": url}
    if right:
        assert Settings.from_environment(environ).jwks_url == url
    else:
        (problem,) = problems(environ)
        assert problem.startswith("VIDEOCREDITS_JWKS_URL is wrong: it must be an https:// address")


def test_secrets_are_not_shown() -> None:
    """Neither repr nor errors show a secret, the database's password, or an address that may contain one."""
    settings = read(JWT_SECRET=SECRET, DATABASE_URL="postgresql://app:hunter2@db/videos")
    assert SECRET not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert "key=hunter2" not in repr(Settings(jwks_url="https://id.example.com/?key=hunter2"))
    lines = problems(
        {
            "VIDEOCREDITS_JWT_SECRET": "hunter2",
            "VIDEOCREDITS_DATABASE_URL": "mysql://app:hunter2@db",
            "VIDEOCREDITS_JWT_SECERT": "hunter2",
        }
    )
    assert len(lines) == 3
    assert "hunter2" not in "".join(lines)


def test_introspection_follows_the_keys() -> None:
    """Without development keys introspection is off, unless the operator turns it on."""
    assert read().introspection == "on"
    assert read(JWT_SECRET=SECRET).introspection == "off"
    assert Settings.from_environment(JWKS).introspection == "off"
    assert read(JWT_SECRET=SECRET, INTROSPECTION="on").introspection == "on"
    assert read(INTROSPECTION="off").introspection == "off"


def test_trusted_documents_only_needs_documents() -> None:
    """A server that accepts only trusted documents, and has none, does not start."""
    (problem,) = problems({"VIDEOCREDITS_TRUSTED_DOCUMENTS_ONLY": "on"})
    assert problem.endswith("set VIDEOCREDITS_DOCUMENTS_FILE to the file that holds them.")


def test_log_format_follows_the_keys() -> None:
    """Without development keys the log is JSON, unless the operator chooses the readable format."""
    assert read(JWT_SECRET=SECRET).log_format == "json"
    assert Settings.from_environment(JWKS).log_format == "json"
    assert read(JWT_SECRET=SECRET, LOG_FORMAT="console").log_format == "console"
    assert read(LOG_FORMAT="json").log_format == "json"


@pytest.mark.parametrize("name", VARIABLES)
def test_readme_names_every_setting(name: str) -> None:
    """The README's table has a row for every variable, with its default, meaning and valid values."""
    variable = VARIABLES[name]
    default = f"`{variable.default}`" if variable.default else ""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert f"| `{name}` | {default} | {variable.meaning} | {variable.kind.must_be} |" in readme.splitlines()


def test_development_secret_is_made_once(tmp_path: Path) -> None:
    """The development secret is created on first use, readable only by its owner, and never changes."""
    data_dir = tmp_path / "not" / "yet"
    secret = development_secret(data_dir)
    assert len(secret) == 64
    assert development_secret(data_dir) == secret
    assert stat.S_IMODE((data_dir / "development.secret").stat().st_mode) == 0o600
    assert [file.name for file in data_dir.iterdir()] == ["development.secret"]
    assert development_secret(tmp_path / "other") != secret


def test_development_secret_race(tmp_path: Path) -> None:
    """Concurrent first uses of the secret all get the same one."""
    for turn in range(20):
        barrier = Barrier(8)

        def ask(data_dir: Path, barrier: Barrier = barrier) -> str:
            barrier.wait()
            return development_secret(data_dir)

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, [tmp_path / str(turn)] * 8))) == 1


def test_development_secret_cannot_be_made(tmp_path: Path) -> None:
    """An unusable data directory, and a damaged secret, are reported in a sentence that says what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="set VIDEOCREDITS_DATA_DIR to a directory that you may write to"):
        development_secret(tmp_path / "file")
    (tmp_path / "development.secret").touch()
    with pytest.raises(StartError, match="is damaged: delete it"):
        development_secret(tmp_path)
