"""A video as the demo knows it: what is to become of it, and what the answers about it must agree on."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any

from server.demo.client import Caller
from server.demo.report import Report

REFUNDED = ("FAILED", "CANCELED")
FINAL = ("COMPLETED", *REFUNDED)


class Fate(Enum):
    """What is to become of a video's first attempt."""

    COMPLETES = auto()
    COMPLETES_THEN_FAILS = auto()
    FAILS_GENERATING = auto()
    FAILS_RENDERING = auto()
    FAILS_THEN_COMPLETES = auto()
    CANCELED = auto()
    CANCELED_AT_THE_END = auto()


@dataclass
class Attempt:
    """One attempt at a video."""

    number: int
    fate: Fate
    progress: int = 0  # the highest in an answer so far
    renders: int = 0
    outcome: str | None = None  # the final status, as its mover's answer shows it
    refunds: set[str] = field(default_factory=set)  # ids of entries
    over: asyncio.Event = field(default_factory=asyncio.Event)  # nothing more will be reported of it


@dataclass
class Video:
    """A video, with what its user's ledger must hold because of it."""

    id: str
    cost: int
    browser: Caller
    ledger: Counter[str]
    report: Report
    random: Random
    attempts: list[Attempt]
    captions: Any = None
    trashed: bool = False

    @property
    def attempt(self) -> Attempt:
        """The present attempt."""
        return self.attempts[-1]

    async def tell(self, reporter: Caller, **report: Any) -> dict[str, Any]:
        """Report on it; the answer is a success, ILLEGAL_TRANSITION or STALE_ATTEMPT."""
        attempt, before = self.attempt, self.attempt.progress
        answer = await reporter.change(
            "updateVideoRecordStatus", "ILLEGAL_TRANSITION", "STALE_ATTEMPT", recordId=self.id, **report
        )
        if "code" not in answer:
            told = answer["videoData"]
            self.report.check(
                told["status"] == report.get("status", told["status"]),
                f"{self.id} is {told['status']} after {report}.",
            )
            if told["attempt"] == attempt.number:
                self.report.check(
                    told["renderProgress"] >= before,
                    f"The progress of {self.id} fell from {before} to {told['renderProgress']}.",
                )
                attempt.progress = max(attempt.progress, told["renderProgress"])
            self._settle(answer)
        return answer

    async def cancel(self) -> dict[str, Any]:
        """Call it off, as its user does; the answer is a success or ILLEGAL_TRANSITION."""
        answer = await self.browser.change("cancelVideoData", "ILLEGAL_TRANSITION", recordId=self.id)
        if "code" not in answer:
            self._settle(answer)
        return answer

    def _settle(self, answer: dict[str, Any]) -> None:
        """Hold an answer about a video that has ended against those before it, and the refund against what it paid."""
        status, number, entry = answer["videoData"]["status"], answer["videoData"]["attempt"], answer["entry"]
        if status not in FINAL:
            return
        attempt = self.attempts[number - 1]
        name = f"Attempt {number} at {self.id}"
        if not answer["replayed"]:
            self.report.check(attempt.outcome is None, f"{name} ended twice: {attempt.outcome}, then {status}.")
            attempt.outcome = status
            if status in REFUNDED:
                self.ledger["REFUND"] += self.cost
        self.report.check(
            attempt.outcome in (None, status), f"{name} is {status} in an answer, and had ended {attempt.outcome}."
        )
        if status in REFUNDED:
            attempt.refunds.add(entry["id"])
            self.report.check(
                (entry["kind"], entry["amount"]) == ("REFUND", self.cost) and len(attempt.refunds) == 1,
                f"{name} cost {self.cost} and was given back as {entry} ({len(attempt.refunds)} entries).",
            )
        else:
            self.report.check(entry is None, f"{name} is completed, and yet was given back as {entry}.")
