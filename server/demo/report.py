"""What the demo saw, and the table that it closes with."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import click

VIOLATIONS_SHOWN_MAX = 20


class Scene(StrEnum):
    """What makes the day hard. It is counted when it really happened and the answer was as it must be."""

    SIGN_UP_TWICE = "sign-ups sent twice, their credits granted once"
    CLICKED_TWICE = "clicks on Create and Retry sent twice at once, charged once"
    DROPPED = "clicks sent again after the connection had dropped"
    DROPPED_AFTER_ALL = "  of which the server had done the first"
    SHORT_OF_CREDITS = "creations and retries refused for want of credits"
    STEP_REPEATED = "generation steps reported again, moving nothing"
    CAPTIONS = "captions of 20 to 60 KB stored and read back"
    RENDER_CLAIMED_TWICE = "renders that a second dispatcher would have started"
    OLD_PROGRESS = "old progress written back by the poller, lowering nothing"
    OLD_STATUS = "old statuses written back after the end, refused"
    SUCCESS_AGAIN = "successes delivered again, changing nothing"
    FAILURE_AGAIN = "failures reported again by another reporter, refunded once"
    FAILURE_AFTER_SUCCESS = "failures reported after COMPLETED, refused: the charge stands"
    SUCCESS_AFTER_FAILURE = "successes reported after a failure, refused: the refund stands"
    OLD_ATTEMPT = "reports about an attempt that was over, refused"
    CANCELED_TWICE = "double clicks on Cancel, refunded once"
    CANCEL_MET_END = "cancels sent in the moment of completion, one of the two refused"
    RETRIED = "failed or canceled videos tried again, charged anew, once"
    WATCHED = "looks at a video under way, at its queue position and the balance"
    PAGED = "dashboards paged through while videos were created"
    TRASHED = "videos trashed by a double click, gone from the dashboard"
    RESTORED = "  of which restored"
    SECOND_TAB = "saves from a second tab, refused, then put on top"
    ADJUSTED = "balances adjusted by the administrator"
    ADJUSTMENT_REFUSED = "adjustments refused, being more than the balance"
    COUNTED = "looks of the administrator at all users, all videos and the counts"
    PAYMENT_TWICE = "payments whose webhook arrived twice at once, credited once"
    REWARD_TWICE = "referral rewards sent twice, credited once"


@dataclass
class Report:
    """What was sent, answered and found wrong."""

    users: int
    videos: int
    seed: int
    elapsed_seconds: float = 0
    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    latencies_seconds: list[float] = field(default_factory=list)
    scenes: Counter[Scene] = field(default_factory=Counter)
    credits_by_kind: Counter[str] = field(default_factory=Counter)
    credits_left: int = 0
    violations: list[str] = field(default_factory=list)

    def check(self, holds: bool, sentence: str) -> None:
        """Note a violation unless it holds; the day goes on."""
        if not holds:
            self.violations.append(sentence)

    @contextmanager
    def errand(self, whose: str) -> Iterator[None]:
        """End an errand, and no more than that, when an answer that it needs does not come."""
        try:
            yield
        except Violation as violation:
            self.violations.append(f"{whose}: {violation}")


class Violation(Exception):  # noqa: N818 - It is what was found; nothing in the demo went wrong.
    """A wrong answer, after which its caller cannot continue."""


def table(report: Report, broken: Sequence[str]) -> str:
    """Write the closing table, with what `verify` found broken in the database."""
    seconds = f"{report.elapsed_seconds:.0f} seconds"
    lines = [f"{report.users} users made {report.videos} videos in {seconds} (seed {report.seed})."]
    lines += ["", _heading(f"{'Answers':<26}{'all':>8}{'changed':>10}{'replayed':>10}{'refused':>10}")]
    lines += _answers(report)
    lines += ["", _heading("Refusals")]
    lines += _refusals(report)
    lines += ["", _heading("What happened on the way")]
    lines += [f"{report.scenes[scene]:>8,}  {scene.value}" for scene in Scene]
    lines += ["", _heading("Credits")]
    lines += _credits(report)
    lines += ["", _heading("Verdict")]
    faults = [*report.violations, *(f"verify: {fault}" for fault in broken)]
    lines += [f"  {fault}" for fault in faults[:VIOLATIONS_SHOWN_MAX]]
    if len(faults) > VIOLATIONS_SHOWN_MAX:
        lines.append(f"  … and {len(faults) - VIOLATIONS_SHOWN_MAX:,} more")
    if faults:
        lines.append(click.style(f"  {len(faults):,} violated.", fg="red", bold=True))
    else:
        lines.append(click.style("  Every answer was as it must be, and `verify` is clean.", fg="green", bold=True))
    return "\n".join(lines)


def _heading(text: str) -> str:
    return click.style(text, bold=True)


def _answers(report: Report) -> Iterator[str]:
    for operation, answers in sorted(report.answers.items(), key=lambda each: (each[1]["read"] > 0, -each[1].total())):
        changed, replayed, all_told = answers["changed"], answers["replayed"], answers.total()
        columns = "" if answers["read"] else f"{changed:>10,}{replayed:>10,}{all_told - changed - replayed:>10,}"
        yield f"  {operation:<24}{all_told:>8,}{columns}"
    latencies = sorted(report.latencies_seconds)
    half, most = (latencies[int(len(latencies) * part)] if latencies else 0 for part in (0.5, 0.99))
    rate = f"{len(latencies) / report.elapsed_seconds:.0f} a second"
    yield f"  {'together':<24}{len(latencies):>8,}  {rate}, p50 {1000 * half:.0f} ms, p99 {1000 * most:.0f} ms"


def _refusals(report: Report) -> list[str]:
    codes: Counter[str] = sum(report.answers.values(), Counter())
    return [f"{count:>8,}  {code}" for code, count in codes.most_common() if code.isupper()]


def _credits(report: Report) -> Iterator[str]:
    by_kind = report.credits_by_kind
    given = {kind: by_kind[kind] for kind in ("SIGNUP", "PURCHASE", "REWARD", "ADJUSTMENT")}
    spent = -by_kind["CHARGE"] - by_kind["REFUND"]
    yield f"{sum(given.values()):>8,}  given: {' + '.join(f'{amount:,} {kind}' for kind, amount in given.items())}"
    yield f"= {spent:>6,}  spent: {-by_kind['CHARGE']:,} CHARGE - {by_kind['REFUND']:,} REFUND"
    yield f"+ {report.credits_left:>6,}  left with the users"
