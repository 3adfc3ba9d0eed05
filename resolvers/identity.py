"""The caller's identity, however it was proved."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from schema.node import uuid

# Every user's id is derived from this and the subject: it must never change.
SUBJECT_NAMESPACE = UUID("f6512c40-fb10-420d-8536-ed5e675f4716")


class Role(StrEnum):
    """The caller's role."""

    USER = "USER"
    WORKER = "WORKER"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, identified by the identity provider's subject.

    A subject has 1 to 255 characters, and none that PostgreSQL cannot store or that would garble a log; otherwise
    ValueError.
    """

    subject: str
    role: Role

    user_id: UUID = field(init=False, compare=False)  # of this subject's user, whether or not it exists yet

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}", self.subject):
            raise ValueError("A subject has 1 to 255 characters, no control characters or unpaired surrogates.")
        object.__setattr__(self, "user_id", uuid(uuid5(SUBJECT_NAMESPACE, self.subject).bytes))

    @property
    def actor(self) -> str:
        """The actor in the ledger and the status history: ``WORKER:render-1``."""
        return f"{self.role}:{self.subject}"
