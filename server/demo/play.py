"""The day: a hundred users, the workers and an administrator, all at once, on one server."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from time import perf_counter
from typing import Any

import httpx2

from resolvers.identity import Role
from server.demo.client import ANSWER_SECONDS_MAX, Caller
from server.demo.customer import Customer
from server.demo.report import Report, Scene
from server.demo.studio import Studio
from server.demo.video import Fate, Video

VIDEOS_A_USER = 3
USERS_AT_ONCE = 25
IDLE_SECONDS_MAX = 1  # Well below what servers allow, lest a request meet a connection that is just being closed.
USER_SECONDS_MAX = 10  # Half a second is enough. After this, what is awaited will not arrive.
FATES = (Fate.COMPLETES, Fate.COMPLETES, *Fate)


async def play(
    url: str,
    tokens: Callable[[Role, str], str],
    *,
    users: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Report:
    """Play the day against a server on which nobody else creates videos meanwhile, and check every answer.

    ``tokens`` makes a token for a role and a subject; the subjects must be new to the server. Who does what depends on
    ``seed`` alone, who comes first on the server. ``progress`` is told how much is done, of how much.
    """
    random = Random(seed)  # noqa: S311 - it deals the parts of a play, and guards nothing
    fates = _deal(random, users * VIDEOS_A_USER)
    report = Report(users=users, videos=len(fates), seed=seed)
    ssl_context = ssl.create_default_context()  # Made once: it takes longer than all else that a client is made of.
    async with AsyncExitStack() as stack:

        def caller(role: Role, subject: str) -> Caller:
            headers = {"Authorization": f"Bearer {tokens(role, subject)}"}
            limits = httpx2.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS_MAX)
            http = httpx2.AsyncClient(headers=headers, verify=ssl_context, timeout=ANSWER_SECONDS_MAX, limits=limits)
            stack.push_async_callback(http.aclose)
            return Caller(http, url, report)

        studio = Studio(lambda subject: caller(Role.WORKER, subject), report)
        payments, administrator = caller(Role.ADMIN, "payments"), caller(Role.ADMIN, "administrator")
        customers = [
            Customer(name, caller(Role.USER, name), payments, studio, report, seed)
            for name in (f"user-{number:03}" for number in range(1, users + 1))
        ]
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done, len(fates) + users)

        awake = asyncio.Semaphore(USERS_AT_ONCE)

        async def live(number: int, customer: Customer) -> None:
            async with awake:
                referrer = customers[number // 2] if number % 3 == 1 else None
                await customer.day(fates[number::users], referrer, advance)
                advance()

        day_seconds_max = 60 + USER_SECONDS_MAX * users
        started = perf_counter()
        before = await administrator.read("stats")
        try:
            async with asyncio.timeout(day_seconds_max), asyncio.TaskGroup() as workers:
                workers.create_task(studio.dispatch(workers))
                async with asyncio.TaskGroup() as people:
                    people.create_task(_administer(administrator, customers, random, report))
                    for number, customer in enumerate(customers):
                        people.create_task(live(number, customer))
                studio.closed = True
        except TimeoutError:
            report.violations.append(f"The day was not over after {day_seconds_max} seconds.")
        with report.errand("The audit"):
            _count(before, await administrator.read("stats"), list(studio.videos.values()), report)
            report.credits_left = sum(await asyncio.gather(*(customer.audit() for customer in customers)))
        for customer in customers:
            report.credits_by_kind.update(customer.ledger)
        report.elapsed_seconds = perf_counter() - started
    return report


def _deal(random: Random, videos: int) -> list[Fate]:
    """Deal fates like cards, so that each comes up although there are few videos."""
    rounds = -(-videos // len(FATES))
    return [fate for _ in range(rounds) for fate in random.sample(FATES, len(FATES))][:videos]


async def _administer(administrator: Caller, customers: Sequence[Customer], random: Random, report: Report) -> None:
    """Look through the lists while the day goes on, and adjust every fourth user's balance, up or down."""
    for number, customer in enumerate(customers[::4]):
        amount = -20 if number % 3 == 1 else random.choice((-1, 2, 5))
        await customer.signed_in.wait()
        with report.errand("The administrator"):
            await _look(administrator, customer, report)
            answers = await administrator.change_twice(
                "adjustUserCredits",
                "INSUFFICIENT_CREDITS",
                userId=customer.id,
                amount=amount,
                kind="ADJUSTMENT",
                memo="A gesture of goodwill" if amount > 0 else "Given by mistake",
                idempotencyKey=f"ticket {number}",
            )
            for answer in answers:
                if "code" in answer:
                    report.check(answer["balance"] < answer["required"], f"There were credits enough: {answer}")
                    report.scenes[Scene.ADJUSTMENT_REFUSED] += 1
                elif not answer["replayed"]:
                    customer.ledger["ADJUSTMENT"] += amount
                    report.scenes[Scene.ADJUSTED] += 1


async def _look(administrator: Caller, customer: Customer, report: Report) -> None:
    """Look at the lists and the counts, as the admin page does."""
    stats = await administrator.read("stats")
    ended = stats["completed"] + stats["failed"] + stats["canceled"]
    report.check(stats["total"] == ended + stats["inProgress"], f"The counts do not add up: {stats}")
    for operation in ("users", "videos"):
        ids: list[str] = []
        page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            found = await administrator.read(operation, after=page["endCursor"])
            ids += [each["id"] for each in found["nodes"]]
            page = found["pageInfo"]
        report.check(len(set(ids)) == len(ids), f"The administrator's list of {operation} shows one twice.")
        if operation == "users":
            report.check(customer.id in ids, f"{customer.name} is missing from the administrator's list.")
    report.scenes[Scene.COUNTED] += 1


def _count(before: dict[str, int], after: dict[str, int], videos: Sequence[Video], report: Report) -> None:
    """Hold the counts of the admin page against the videos that were made."""
    outcomes = [video.attempt.outcome for video in videos]
    expected = {
        "total": len(videos),
        "completed": outcomes.count("COMPLETED"),
        "inProgress": outcomes.count(None),
        "failed": outcomes.count("FAILED"),
        "canceled": outcomes.count("CANCELED"),
        "trashed": sum(video.trashed for video in videos),
    }
    counted = {name: after[name] - before[name] for name in expected}
    report.check(counted == expected, f"The counts are {counted}, and must be {expected}.")
