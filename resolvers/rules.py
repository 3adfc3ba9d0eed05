"""Authorization: the root fields that each role may use, and whose rows it reaches with them."""

from enum import Enum, auto
from typing import NamedTuple
from uuid import UUID

from graphql import OperationType

from resolvers.context import NO_QUOTAS, Info, Quotas
from resolvers.identity import Identity, Role
from schema.error import RequestError


class Reach(Enum):
    """Whose rows a rule allows."""

    OWN = auto()
    ANY = auto()


USER, WORKER, ADMIN = Role.USER, Role.WORKER, Role.ADMIN
OWN, ANY = Reach.OWN, Reach.ANY

# For each root field, the roles that may use it, and whose rows each reaches. Anything not listed is forbidden.
# A row out of reach looks like one that does not exist.
RULES: dict[str, dict[Role, Reach]] = {
    "viewer": {USER: OWN, ADMIN: OWN},
    "node": {USER: OWN, WORKER: ANY, ADMIN: ANY},  # then the rule of the object type's own field applies
    "nodes": {USER: OWN, WORKER: ANY, ADMIN: ANY},
    "user": {USER: OWN, WORKER: ANY, ADMIN: ANY},  # a worker sees the owner of the video it renders
    "users": {ADMIN: ANY},
    "videoData": {USER: OWN, WORKER: ANY, ADMIN: ANY},
    "videos": {ADMIN: ANY},
    "renderQueue": {WORKER: ANY, ADMIN: ANY},
    "videoDataStats": {ADMIN: ANY},
    "viewerUpdated": {USER: OWN, ADMIN: OWN},
    "videoDataUpdated": {USER: OWN, WORKER: ANY, ADMIN: ANY},
    "videosUpdated": {USER: OWN, ADMIN: OWN},
    "creditEntryAdded": {USER: OWN, ADMIN: OWN},
    "registerUser": {USER: OWN, ADMIN: OWN},
    "adjustUserCredits": {ADMIN: ANY},
    "createVideoData": {USER: OWN, ADMIN: ANY},
    "updateVideoRecordStatus": {WORKER: ANY, ADMIN: ANY},
    "updateVideoData": {USER: OWN, WORKER: ANY, ADMIN: ANY},  # A USER none of `WORKERS_COLUMNS`, which its input names.
    "cancelVideoData": {USER: OWN, ADMIN: ANY},
    "retryVideoData": {USER: OWN, ADMIN: ANY},
    "trashVideoData": {USER: OWN, ADMIN: ANY},
    "restoreVideoData": {USER: OWN, ADMIN: ANY},
}


class Access(NamedTuple):
    """What a rule grants to a caller."""

    identity: Identity
    reach: Reach

    def reaches(self, wallet_id: UUID) -> bool:
        """Return whether the caller reaches a wallet's rows; a user's own wallet has the user's id."""
        return self.reach is ANY or wallet_id == self.identity.user_id


def allows(field: str, identity: Identity | None) -> bool:
    """Return whether a caller may use a root field."""
    return identity is not None and identity.role in RULES[field]


def refusal(field: str, identity: Identity | None) -> RequestError:
    """Return the error for a caller who may not use a root field: UNAUTHENTICATED or FORBIDDEN."""
    if identity is None:
        return RequestError("UNAUTHENTICATED", "Sign in: send a bearer token in the Authorization header.")
    return RequestError("FORBIDDEN", f"`{field}` is not for the role {identity.role}.")


def admit(info: Info) -> Access:
    """Admit the caller to the root field that is being resolved, or raise its refusal.

    In a mutation, forget the rows read for earlier root fields, so that each field shows what the others changed.
    """
    identity = info.context.identity
    reach = None if identity is None else RULES[info.field_name].get(identity.role)
    if identity is None or reach is None:
        raise refusal(info.field_name, identity)
    if info.operation.operation is OperationType.MUTATION:
        info.context.forget_rows()
    return Access(identity, reach)


def quotas_of(info: Info, access: Access) -> Quotas:
    """Return the quotas that apply to the caller.

    Only a USER is refused: a worker's result counts, but must not be lost.
    """
    return info.context.terms.quotas if access.identity.role is USER else NO_QUOTAS


def sees(access: Access, field: str, wallet_id: UUID) -> bool:
    """Return whether a caller sees a wallet's row through another root field."""
    reach = RULES[field].get(access.identity.role)
    return reach is not None and Access(access.identity, reach).reaches(wallet_id)
