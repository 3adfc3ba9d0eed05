"""Who you are while you develop: an identity for each role, and tokens that development keys sign."""

from resolvers.identity import Identity, Role
from server.process.settings import Settings, development_secret

IDENTITIES = {role: Identity(f"dev-{role.lower()}", role) for role in Role}
TOKEN_SECONDS = 30 * 86_400


def development_token(settings: Settings, identity: Identity, expires_in_seconds: int = TOKEN_SECONDS) -> str:
    """Sign a token that servers with development keys and these settings' data directory take."""
    from server.auth.tokens import mint_token  # noqa: PLC0415 - slow to import, and `--help` needs only the identities

    return mint_token(
        development_secret(settings.data_dir),
        role=identity.role,
        subject=identity.subject,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        role_claim=settings.role_claim,
        expires_in_seconds=expires_in_seconds,
    )
