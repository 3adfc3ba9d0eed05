"""A user of the app: signs in, creates videos, buys credits, watches, edits, trashes, and knows what they must cost."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

from server.demo.client import Caller, Dropped
from server.demo.report import Report, Scene
from server.demo.studio import Studio
from server.demo.video import REFUNDED, Attempt, Fate, Video

CREDITS_A_PACK = 3
DROP_SECONDS_MAX = 0.03
WATCH_SECONDS = 2.0
RETRIED = (Fate.FAILS_GENERATING, Fate.FAILS_THEN_COMPLETES, Fate.CANCELED)


class Customer:
    """One user's browsers, and the account of what that user's ledger must come to."""

    def __init__(self, name: str, browser: Caller, payments: Caller, studio: Studio, report: Report, seed: int) -> None:
        self.name = name
        self.id = ""
        self.ledger: Counter[str] = Counter()  # what the entries of each kind must add up to
        self.signed_in = asyncio.Event()
        self.videos: list[Video] = []  # in order of creation
        self._browser = browser
        self._payments = payments
        self._studio = studio
        self._report = report
        self._random = Random(f"{seed} {name}")  # noqa: S311 - it deals the parts of a play, and guards nothing

    async def day(self, fates: Sequence[Fate], referrer: "Customer | None", video_ended: Callable[[], None]) -> None:
        """Make a video of each fate, and do with them what one does; return when all have ended."""
        with self._report.errand(self.name):
            await self.sign_in()
            if referrer is not None:
                await referrer.be_rewarded_for(self)
            async with asyncio.TaskGroup() as lives:
                for fate in fates:
                    with self._report.errand(self.name):
                        _, video = await asyncio.gather(self.browse(), self.create(fate))
                        lives.create_task(self.see_through(video, video_ended))
            await self.tidy_up()
            await self.edit()

    async def sign_in(self) -> None:
        """Sign in, in two tabs at once."""
        try:
            first, second = await self._browser.change_twice(
                "registerUser",
                name=self.name.title(),
                email=f"{self.name}@app.example",
                picture=f"https://app.example/{self.name}.png",
            )
            self.id = first["user"]["id"]
        finally:
            self.signed_in.set()
        self._report.check(first["entry"] == second["entry"], f"{self.name} was granted sign-up credits twice.")
        self._report.scenes[Scene.SIGN_UP_TWICE] += 1
        if first["entry"] is not None:
            self.ledger["SIGNUP"] += first["entry"]["amount"]

    async def be_rewarded_for(self, friend: "Customer") -> None:
        """Be given a credit for bringing a friend, by a job that is run twice."""
        await self.signed_in.wait()
        await self._credited_twice(Scene.REWARD_TWICE, "REWARD", 1, f"referral {friend.name}", "Brought a friend")

    async def buy(self, random: Random) -> None:
        """Buy a pack of credits; the payment provider delivers its webhook twice at once."""
        transaction = f"pi_{random.getrandbits(64):016x}"
        await self._credited_twice(Scene.PAYMENT_TWICE, "PURCHASE", CREDITS_A_PACK, transaction, "4.99 USD by card")

    async def create(self, fate: Fate) -> Video:
        """Fill in the form and click on Create, buying credits first when they do not suffice."""
        random = Random(self._random.random())  # noqa: S311 - it deals the parts of a play, and guards nothing
        created = await self._pay_for(
            "createVideoData",
            random,
            title=f"{self.name}'s video {len(self.videos) + 1}",
            topic="A day in the life of whales",
            videoStyle=random.choice(("realistic", "watercolor", "comic")),
            caption={"style": "bold", "color": "#ffcc00", "size": random.randint(20, 60)},
            voice={"voiceId": "en-US-Neural2-D", "name": "David"},
            createdBy=f"{self.name}@app.example",
        )
        video = Video(
            id=created["videoData"]["id"],
            cost=created["videoData"]["cost"],
            browser=self._browser,
            ledger=self.ledger,
            report=self._report,
            random=random,
            attempts=[Attempt(1, fate)],
        )
        self.videos.append(video)
        self._studio.videos[video.id] = video
        return video

    async def see_through(self, video: Video, ended: Callable[[], None]) -> None:
        """Have a video generated, watch it until it has ended, and try again what was worth it."""
        with self._report.errand(self.name):
            while True:
                attempt = video.attempt
                watching = asyncio.create_task(self._watch(video, attempt))
                try:
                    cancel = [self._cancel(video)] if attempt.fate is Fate.CANCELED else []
                    queued, *_ = await asyncio.gather(self._studio.generate(video), *cancel)
                    if attempt.renders or (queued and attempt.outcome is None and not self._studio.closed):
                        await attempt.over.wait()
                finally:
                    attempt.over.set()
                    await watching
                if attempt.fate not in RETRIED or attempt.outcome not in REFUNDED:
                    break
                await self._pay_for("retryVideoData", video.random, recordId=video.id)
                video.attempts.append(Attempt(attempt.number + 1, Fate.COMPLETES))
                self._report.scenes[Scene.RETRIED] += 1
        ended()

    async def browse(self) -> None:
        """Page through the dashboard: the newest first, each once, none that is trashed."""
        known = [video.id for video in reversed(self.videos) if not video.trashed]
        trashed = {video.id for video in self.videos if video.trashed}
        shown = await self._pages("EXCLUDE")
        self._report.check(
            [each for each in shown if each in known] == known
            and len(set(shown)) == len(shown)
            and trashed.isdisjoint(shown),
            f"The dashboard of {self.name} showed {shown}, and had to show {known}, and none of {trashed}.",
        )
        self._report.scenes[Scene.PAGED] += 1

    async def tidy_up(self) -> None:
        """Put half of the videos into the trash, and take the first of them out again."""
        trashed = self._random.sample(self.videos, len(self.videos) // 2)
        for video in trashed:
            await self._browser.change_twice("trashVideoData", recordId=video.id)
            video.trashed = True
            self._report.scenes[Scene.TRASHED] += 1
        await self.browse()
        for video in trashed[:1]:
            await self._browser.change_twice("restoreVideoData", recordId=video.id)
            video.trashed = False
            self._report.scenes[Scene.RESTORED] += 1
        in_trash = set(await self._pages("ONLY"))
        self._report.check(
            in_trash == {video.id for video in self.videos if video.trashed}, f"The trash of {self.name} is {in_trash}."
        )

    async def edit(self) -> None:
        """Edit a finished video in two tabs that both save."""
        for video in [video for video in self.videos if video.attempt.outcome == "COMPLETED"][:1]:
            tabs = await asyncio.gather(*(self._browser.read("editVideo", id=video.id) for _ in range(2)))
            self._report.check(tabs[0]["captionJson"] == video.captions, f"The captions of {video.id} were altered.")
            self._report.scenes[Scene.CAPTIONS] += 1
            saves: list[dict[str, Any]] = [
                {"config": {"transition": "fade", "subtitle": True, "effects": ["grain"], "intensity": 0.7}},
                {
                    "musicTrack": {"name": "Low tide", "url": "https://music.example/low-tide.mp3"},
                    "volume": {"backgroundMusic": 0.25, "voice": 0.9},
                },
            ]
            answers = await asyncio.gather(
                *(self._save(video, tab["version"], save) for tab, save in zip(tabs, saves, strict=True))
            )
            refused = [save for save, answer in zip(saves, answers, strict=True) if "code" in answer]
            self._report.check(len(refused) == 1, f"Of two tabs that saved {video.id}, {len(refused)} were refused.")
            for save in refused:
                newest = await self._browser.read("editVideo", id=video.id)
                await self._save(video, newest["version"], save)
                self._report.scenes[Scene.SECOND_TAB] += 1
            after = await self._browser.read("editVideo", id=video.id)
            saved = saves[0] | saves[1]
            self._report.check({name: after[name] for name in saved} == saved, f"A save of {video.id} was lost.")

    async def audit(self) -> int:
        """Hold the balance, the ledger and the videos against what was sent and answered; return the balance."""
        entries: list[dict[str, Any]] = []
        page = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            viewer = await self._browser.read("ledger", after=page["endCursor"])
            entries += viewer["creditEntries"]["nodes"]
            page = viewer["creditEntries"]["pageInfo"]
        balance: int = viewer["credits"]
        sums: Counter[str] = Counter()
        for entry in entries:
            sums[entry["kind"]] += entry["amount"]
        expected = {kind: amount for kind, amount in self.ledger.items() if amount}
        self._report.check(
            balance == self.ledger.total() and dict(sums) == expected,
            f"{self.name} has {balance} credits by {dict(sums)}, and must have {self.ledger.total()} by {expected}.",
        )
        afters = [0, *(entry["balanceAfter"] for entry in reversed(entries))]
        self._report.check(
            [entry["number"] for entry in entries] == list(range(len(entries), 0, -1))
            and all(
                before + entry["amount"] == entry["balanceAfter"]
                for before, entry in zip(afters, reversed(entries), strict=False)
            )
            and afters[-1] == balance,
            f"The ledger of {self.name} does not lead to {balance} credits: {entries}",
        )
        return balance

    async def _pay_for(self, operation: str, random: Random, **input: Any) -> dict[str, Any]:
        """Click until it is done, buying credits if need be; one charge is due however often it was sent."""
        key = str(UUID(int=random.getrandbits(128), version=4))
        while True:
            answers = await self._click(operation, random, idempotencyKey=key, **input)
            done = [answer for answer in answers if "code" not in answer]
            for answer in answers:
                self._report.check(
                    answer in done or answer["balance"] < answer["required"],
                    f"{operation} of {self.name} was refused with credits enough: {answer}",
                )
            if done:
                break
            self._report.scenes[Scene.SHORT_OF_CREDITS] += 1
            await self.buy(random)
        video, charge = done[0]["videoData"], done[0]["entry"]
        self._report.check(
            all((answer["videoData"]["id"], answer["entry"]) == (video["id"], charge) for answer in done)
            and (charge["kind"], charge["amount"]) == ("CHARGE", -video["cost"]),
            f"{operation} of {self.name} was done twice, or not for {video['cost']} credits: {done}",
        )
        self.ledger["CHARGE"] -= video["cost"]
        return done[0]

    async def _click(self, operation: str, random: Random, **input: Any) -> list[dict[str, Any]]:
        """Send what a click asks for once, or twice at once, or again after the connection has dropped."""
        match random.choice(("once", "twice", "dropped")):
            case "once":
                return [await self._browser.change(operation, "INSUFFICIENT_CREDITS", **input)]
            case "twice":
                answers = await self._browser.change_twice(operation, "INSUFFICIENT_CREDITS", **input)
                if any("code" not in answer for answer in answers):
                    self._report.scenes[Scene.CLICKED_TWICE] += 1
                return answers
            case _:
                # A read timeout, not a cancelled task: httpx2 leaks sockets when cancelled while it closes idle ones.
                seconds = random.uniform(0, DROP_SECONDS_MAX)
                try:
                    first = await self._browser.change(
                        operation, "INSUFFICIENT_CREDITS", answer_seconds=seconds, **input
                    )
                except Dropped:
                    answer = await self._browser.change(operation, "INSUFFICIENT_CREDITS", **input)
                    self._report.scenes[Scene.DROPPED] += 1
                    self._report.scenes[Scene.DROPPED_AFTER_ALL] += answer.get("replayed", False)
                    return [answer]
                return [first, await self._browser.change(operation, "INSUFFICIENT_CREDITS", **input)]

    async def _cancel(self, video: Video) -> None:
        await asyncio.sleep(video.random.uniform(0, DROP_SECONDS_MAX))
        answers = await asyncio.gather(video.cancel(), video.cancel())
        self._report.check(
            sorted(answer.get("replayed", True) for answer in answers) == [False, True],
            f"{video.id} was called off by both clicks, or by neither: {answers}",
        )
        self._report.scenes[Scene.CANCELED_TWICE] += 1

    async def _watch(self, video: Video, attempt: Attempt) -> None:
        version = progress = 0
        with self._report.errand(self.name):
            over = False
            while not over:
                over = attempt.over.is_set()
                seen = await self._browser.read("watchVideo", id=video.id)
                self._report.check(
                    seen["version"] >= version and seen["renderProgress"] >= progress,
                    f"{video.id} went back from version {version} and {progress} percent: {seen}",
                )
                version, progress = seen["version"], seen["renderProgress"]
                self._report.scenes[Scene.WATCHED] += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(attempt.over.wait(), WATCH_SECONDS)
            self._report.check(
                seen["status"] == attempt.outcome and (seen["downloadUrl"] is None) == (attempt.outcome != "COMPLETED"),
                f"{video.id} ended {attempt.outcome}, and its user sees {seen}",
            )

    async def _pages(self, trashed: str) -> list[str]:
        shown: list[str] = []
        page = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            viewer = await self._browser.read("dashboard", after=page["endCursor"], trashed=trashed)
            shown += [each["id"] for each in viewer["videos"]["nodes"]]
            page = viewer["videos"]["pageInfo"]
        return shown

    async def _save(self, video: Video, version: int, save: dict[str, Any]) -> dict[str, Any]:
        return await self._browser.change(
            "updateVideoData", "VERSION_CONFLICT", recordId=video.id, expectedVersion=version, **save
        )

    async def _credited_twice(self, scene: Scene, kind: str, amount: int, key: str, memo: str) -> None:
        first, second = await self._payments.change_twice(
            "adjustUserCredits", userId=self.id, amount=amount, kind=kind, memo=memo, idempotencyKey=key
        )
        self._report.check(first["entry"] == second["entry"], f"{key} was credited twice to {self.name}.")
        self._report.scenes[scene] += 1
        self.ledger[kind] += amount
