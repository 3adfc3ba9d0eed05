"""What the server promises, in plain Python: videos' lifecycle and the ledger, one call at a time.

Objects and answers are what clients see over HTTP, except times: the model states only whether there is one.
"""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeAlias
from uuid import UUID

from resolvers.identity import Identity, Role
from schema.node import EntryKey, UserKey, VideoKey, decode_id, encode_id
from tests.api import VIDEO, named

Answer: TypeAlias = dict[str, Any]

CREDITS_MAX = 2**31 - 1
BLOCK_BYTES = 65_536
STAGES = (
    *("QUEUED", "GENERATING_AUDIO", "GENERATING_CAPTIONS", "GENERATING_IMAGE_PROMPTS", "GENERATING_IMAGES"),
    *("READY", "RENDER_QUEUED", "RENDERING", "COMPLETED"),
)
REFUNDED = ("FAILED", "CANCELED")
FINAL = ("COMPLETED", *REFUNDED)


@dataclass
class Video:
    """A video, its events, and state that clients do not see."""

    owner: "User"
    shown: Answer
    script: str | None = None
    saved_version: int = 1
    queued_as: int | None = None
    events: list[tuple[str, int, str, Any]] = field(default_factory=list)
    refund: Answer | None = None  # Of the current attempt.

    @property
    def blocks(self) -> int:
        return blocks(self.script)

    def take_status(self, status: str, actor: str, comments: Any) -> None:
        self.shown["status"] = status
        self.events.append((status, self.shown["attempt"], actor, comments))


@dataclass
class User:
    """A user, the ledger, and the used keys."""

    identity: Identity
    shown: Answer
    entries: list[Answer] = field(default_factory=list)
    keys: dict[str, tuple[object, Answer, Video | None]] = field(default_factory=dict)
    creations: Counter[date] = field(default_factory=Counter)

    def write(self, kind: str, amount: int, actor: str, **more: Any) -> Answer:
        """Change the balance by an entry."""
        self.shown["credits"] += amount
        self.shown["version"] += kind != "SIGNUP"
        number = len(self.entries) + 1
        entry = {
            "id": encode_id(EntryKey(self.identity.user_id, number)),
            "number": number,
            "kind": kind,
            "amount": amount,
            "balanceAfter": self.shown["credits"],
            "uncovered": 0,
            "attempt": None,
            "idempotencyKey": None,
            "actor": actor,
            "memo": None,
            "createdAt": True,
            **more,
        }
        self.entries.append(entry)
        return entry


class Model:
    """The expected server; ``queued_before`` other users' videos wait in the render queue."""

    def __init__(self, signup_credits: int, queued_before: int, storage_max: int) -> None:
        self.users: dict[UUID, User] = {}
        self.videos: dict[str, Video] = {}
        self._signup_credits = signup_credits
        self._queued_before = queued_before
        self._storage_max = storage_max
        self._queue_numbers = 0

    def register(self, subject: str, profile: Mapping[str, str | None]) -> Answer:
        identity = Identity(subject, Role.USER)
        user = self.users.get(identity.user_id)
        replayed = user is not None
        if user is None:
            nobody = {"id": encode_id(UserKey(identity.user_id)), "name": None, "email": None, "picture": None}
            account = {"credits": 0, "version": 1, "firstPurchasedAt": False, "createdAt": True}
            user = self.users[identity.user_id] = User(identity, {**nobody, **profile, **account})
            user.write("SIGNUP", self._signup_credits, identity.actor)
        elif not profile.items() <= user.shown.items():
            user.shown.update(profile)
            user.shown["version"] += 1
        return self._success("RegisterUser", user=user, entry=user.entries[0], replayed=replayed)

    def adjust(
        self, subject: str, amount: int, kind: str, key: str, memo: str | None, *, take_available: bool
    ) -> Answer:
        user = self.users.get(Identity(subject, Role.USER).user_id)
        if user is None:
            return _refusal("UserNotFound", "USER_NOT_FOUND")
        arguments = ("adjust", amount, kind, memo, take_available)
        if key in user.keys:
            return self._used("AdjustUserCredits", user, key, arguments)
        balance = user.shown["credits"]
        if balance + amount < 0 and not take_available:
            return _refusal("InsufficientCredits", "INSUFFICIENT_CREDITS", balance=balance, required=-amount)
        if balance + amount > CREDITS_MAX:
            return _refusal("CreditsOutOfRange", "CREDITS_OUT_OF_RANGE", balance=balance, maximum=CREDITS_MAX)
        taken = max(amount, -balance)
        entry = user.write(kind, taken, "ADMIN:root", idempotencyKey=key, memo=memo, uncovered=taken - amount)
        user.shown["firstPurchasedAt"] |= kind == "PURCHASE" and amount > 0
        user.keys[key] = (arguments, entry, None)
        return self._success("AdjustUserCredits", user=user, entry=entry, replayed=False)

    def create(self, subject: str, key: str, title: str, cost: int, creations_max: int, new_id: str | None) -> Answer:
        """Create a video; a new one gets the id ``new_id``."""
        identity = Identity(subject, Role.USER)
        user = self.users.get(identity.user_id)
        if user is None:
            return _refusal("UserNotFound", "USER_NOT_FOUND")
        if key in user.keys:
            return self._used("CreateVideoData", user, key, ("create", title))
        if refusal := _too_many(user, creations_max) or self._too_much(user, 1):
            return refusal
        if user.shown["credits"] < cost:
            return _insufficient(user, cost)
        assert new_id is not None
        assert new_id not in self.videos
        shown: Answer = dict.fromkeys(name for name in named("VideoData").fields if name in VIDEO.split())
        shown |= {"id": new_id, "title": title, "videoStyle": "realistic", "renderProgress": 0, "cost": cost}
        shown |= {"attempt": 1, "version": 1, "volume": {"backgroundMusic": 0.4, "voice": 1.0}}
        shown |= dict.fromkeys(("queuedAt", "renderStartedAt", "trashedAt"), False)
        shown |= dict.fromkeys(("createdAt", "updatedAt"), True)
        video = self.videos[new_id] = Video(user, shown)
        video.take_status("QUEUED", identity.actor, None)
        user.creations[today()] += 1
        entry = user.write("CHARGE", -cost, identity.actor, attempt=1, idempotencyKey=key)
        user.keys[key] = (("create", title), entry, video)
        return self._success("CreateVideoData", video=video, user=user, entry=entry, replayed=False)

    def report(
        self,
        mutation: str,
        actor: str,
        id: str,
        *,
        status: str | None = None,
        comments: Any = None,
        progress: int | None = None,
        url: str | None = None,
        attempt: int | None = None,
    ) -> Answer:
        video = self.videos.get(id)
        if video is None:
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        shown, present = video.shown, video.shown["status"]
        if (attempt or 1) != shown["attempt"]:
            return _refusal("StaleAttempt", "STALE_ATTEMPT", currentAttempt=shown["attempt"])
        moves = status is not None and status != present
        if moves:
            assert status is not None
            if not may_follow(present, status):
                return self._illegal(video)
            if status in REFUNDED and video.owner.shown["credits"] + shown["cost"] > CREDITS_MAX:
                return _refusal("OperationRefused", "CREDITS_OUT_OF_RANGE")
        elif (
            present in FINAL
            and url not in {None, shown["downloadUrl"]}
            and (shown["downloadUrl"] or present in REFUNDED)
        ):
            return _refusal("ContradictoryReport", "CONTRADICTORY_REPORT", videoData=self.show(video))
        said = _news(
            shown, {"comments": comments, "downloadUrl": url}, progress, is_repeated=not moves and status is not None
        )
        changes = moves or any(shown[name] != value for name, value in said.items())
        if changes:
            shown |= ({"comments": None} if moves else {}) | said
            shown["version"] += 1
        if moves:
            assert status is not None
            self._move(video, status, actor, comments)
        return self._success(mutation, video=video, user=video.owner, entry=video.refund, replayed=not changes)

    def cancel(self, subject: str, id: str) -> Answer:
        identity = Identity(subject, Role.USER)
        if not self._reaches(identity, id):
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        attempt = self.videos[id].shown["attempt"]
        return self.report("CancelVideoData", identity.actor, id, status="CANCELED", attempt=attempt)

    def retry(self, subject: str, id: str, key: str, cost: int, creations_max: int) -> Answer:  # noqa: PLR0911 - one for each refusal
        identity = Identity(subject, Role.USER)
        user = self.users.get(identity.user_id)
        key_of_id = decode_id(id)
        if not isinstance(key_of_id, VideoKey) or key_of_id.wallet_id != identity.user_id or user is None:
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        if key in user.keys:
            return self._used("RetryVideoData", user, key, ("retry", id))
        video = self.videos.get(id)
        if video is None:
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        if video.shown["status"] not in REFUNDED:
            return self._illegal(video)
        if refusal := _too_many(user, creations_max):
            return refusal
        if user.shown["credits"] < cost:
            return _insufficient(user, cost)
        video.shown |= dict.fromkeys(("comments", "renderId", "bucketName", "downloadUrl"))
        video.shown |= {"renderProgress": 0, "cost": cost, "queuedAt": False, "renderStartedAt": False}
        video.shown["attempt"] += 1
        video.shown["version"] += 1
        video.refund = None
        video.take_status("QUEUED", identity.actor, None)
        attempt = video.shown["attempt"]
        user.creations[today()] += 1
        entry = user.write("CHARGE", -cost, identity.actor, attempt=attempt, idempotencyKey=key)
        user.keys[key] = (("retry", id), entry, video)
        return self._success("RetryVideoData", video=video, user=user, entry=entry, replayed=False)

    def trash(self, subject: str, id: str, *, trashed: bool) -> Answer:
        if not self._reaches(Identity(subject, Role.USER), id):
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        video = self.videos[id]
        changes = video.shown["trashedAt"] != trashed
        video.shown["trashedAt"] = trashed
        video.shown["version"] += changes
        return self._success("TrashVideoData" if trashed else "RestoreVideoData", video=video, replayed=not changes)

    def update(self, caller: Identity, id: str, expected_version: int | None, stored: Mapping[str, Any]) -> Answer:
        """Store what a worker or the owner stores; `script` is not shown."""
        video = self.videos.get(id)
        if video is None or (caller.role is Role.USER and not self._reaches(caller, id)):
            return _refusal("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
        version = video.shown["version"]
        present = video.shown | {"script": video.script}
        if all(present[name] == value for name, value in stored.items()):
            return self._success("UpdateVideoData", video=video)
        if expected_version is not None and not video.saved_version <= expected_version <= version:
            details = {"expectedVersion": expected_version, "currentVersion": version}
            return _refusal("VersionConflict", "VERSION_CONFLICT", **details)
        more = blocks(stored.get("script", video.script)) - video.blocks
        if caller.role is Role.USER and more > 0 and (refusal := self._too_much(video.owner, more)):
            return refusal
        video.shown |= {name: value for name, value in stored.items() if name != "script"}
        video.script = stored.get("script", video.script)
        video.shown["version"] += 1
        video.saved_version = video.shown["version"]
        return self._success("UpdateVideoData", video=video)

    def show(self, video: Video) -> Answer:
        """Show a video and its position in the render queue."""
        position = None
        if video.queued_as is not None:
            queue = sorted(each.queued_as for each in self.videos.values() if each.queued_as is not None)
            position = self._queued_before + queue.index(video.queued_as) + 1
        return {**deepcopy(video.shown), "queuePosition": position}

    def _move(self, video: Video, status: str, actor: str, comments: Any) -> None:
        video.take_status(status, actor, comments)
        video.queued_as = None
        if status == "RENDER_QUEUED":
            self._queue_numbers += 1
            video.queued_as = self._queue_numbers
            video.shown["queuedAt"] = True
        elif status == "RENDERING":
            video.shown["renderStartedAt"] = True
        elif status == "COMPLETED":
            video.shown["renderProgress"] = 100
        elif status in REFUNDED:
            cost, attempt = video.shown["cost"], video.shown["attempt"]
            video.refund = video.owner.write("REFUND", cost, actor, attempt=attempt)

    def _too_much(self, user: User, blocks: int) -> Answer | None:
        used = BLOCK_BYTES * sum(video.blocks for video in self.videos.values() if video.owner is user)
        if used + BLOCK_BYTES * blocks <= self._storage_max:
            return None
        return _quota_exceeded("STORAGE_BYTES", self._storage_max, used)

    def _reaches(self, identity: Identity, id: str) -> bool:
        return id in self.videos and self.videos[id].owner.identity == identity

    def _used(self, mutation: str, user: User, key: str, arguments: object) -> Answer:
        first_arguments, entry, video = user.keys[key]
        if arguments != first_arguments:
            return _refusal("IdempotencyKeyReused", "IDEMPOTENCY_KEY_REUSED", idempotencyKey=key)
        return self._success(mutation, video=video, user=user, entry=entry, replayed=True)

    def _illegal(self, video: Video) -> Answer:
        details = {"currentStatus": video.shown["status"], "videoData": self.show(video)}
        return _refusal("IllegalTransition", "ILLEGAL_TRANSITION", **details)

    def _success(self, mutation: str, *, video: Video | None = None, user: User | None = None, **more: Any) -> Answer:
        shown = {"__typename": f"{mutation}Success", **more}
        if video is not None:
            shown["videoData"] = self.show(video)
        if user is not None:
            shown["user"] = user.shown
        return deepcopy(shown)


def _news(shown: Answer, notes: Mapping[str, Any], progress: int | None, *, is_repeated: bool) -> Answer:
    """Return what a report says beside its status and is stored."""
    said = {name: value for name, value in notes.items() if value is not None}
    if shown["status"] in FINAL:
        return {name: value for name, value in said.items() if shown[name] is None}
    if is_repeated:
        said = {}
    if progress is not None and progress > shown["renderProgress"]:
        said["renderProgress"] = progress
    return said


def may_follow(present: str, following: str) -> bool:
    """Return whether a report may move a video from one status to another."""
    if present in FINAL:
        return False
    return following in REFUNDED or STAGES.index(following) > STAGES.index(present)


def blocks(script: str | None) -> int:
    """Return the number of blocks of storage that a script needs."""
    return max(1, -(-len((script or "").encode()) // BLOCK_BYTES))


def today() -> date:
    return datetime.now(UTC).date()


def _too_many(user: User, creations_max: int) -> Answer | None:
    used = user.creations[today()]
    return None if used < creations_max else _quota_exceeded("CREATIONS_PER_DAY", creations_max, used)


def _quota_exceeded(quota: str, limit: int, used: int) -> Answer:
    resets = quota == "CREATIONS_PER_DAY"
    return _refusal(
        "QuotaExceeded", "QUOTA_EXCEEDED", quota=quota, limit=float(limit), used=float(used), resetsAt=resets
    )


def _insufficient(user: User, required: int) -> Answer:
    balance = user.shown["credits"]
    return _refusal("InsufficientCredits", "INSUFFICIENT_CREDITS", balance=balance, required=required)


def _refusal(typename: str, code: str, **details: Any) -> Answer:
    return {"__typename": typename, "code": code, **details}
