"""Who is calling: what a resolver knows of the caller, whatever proved it."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from schema.node import uuid

# Every user's id is made of this and of the subject: it must never change.
SUBJECT_NAMESPACE = UUID("f6512c40-fb10-420d-8536-ed5e675f4716")


class Role(StrEnum):
    """What the caller is to this server."""

    USER = "USER"
    WORKER = "WORKER"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody known by the identity provider's name for them, the subject.

    A subject has 1 to 255 characters and none that PostgreSQL cannot store or a log would garble; otherwise ValueError.
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
        """Who did it, for the ledger and the status history: ``WORKER:render-1``."""
        return f"{self.role}:{self.subject}"
