"""What works behind the app's pages: generation jobs, two render dispatchers, the render farm and its reporters."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from server.demo.client import Caller
from server.demo.report import Report, Scene, Violation
from server.demo.video import FINAL, Attempt, Fate, Video

STAGES = ("GENERATING_AUDIO", "GENERATING_CAPTIONS", "GENERATING_IMAGE_PROMPTS", "GENERATING_IMAGES")
POLL_SECONDS = 0.1
FARM = "https://farm.example"
WORDS = ("whales", "sing", "below", "the", "ice", "while", "a", "quiet", "light", "crosses", "their", "morning")


class Studio:
    """The workers, who know nothing of each other and report on every user's videos."""

    def __init__(self, worker: Callable[[str], Caller], report: Report) -> None:
        self._report = report
        self._job = worker("generation-job")
        self._on_failure = worker("on-failure-handler")
        self._dispatchers = [worker("dispatcher-1"), worker("dispatcher-2")]
        self._webhook = worker("render-webhook")
        self._poller = worker("progress-poller")
        self._upload = worker("upload")
        self.videos: dict[str, Video] = {}
        self.closed = False

    async def generate(self, video: Video) -> bool:
        """Generate what a video is rendered from, and queue it; tell whether it came to that."""
        attempt = video.attempt
        with self._report.errand("The generation job"):
            if attempt.number > 1:
                await self._fail_late(video, attempt)
            for stage in STAGES:
                # A durable step is run again when its worker dies, and with it the report that it begins with.
                for run in range(video.random.choice((1, 1, 2))):
                    answer = await video.tell(self._job, status=stage, attempt=attempt.number)
                    if "code" in answer:
                        return False
                    if run > 0:
                        self._report.check(answer["replayed"], f"{video.id} moved to {stage} twice.")
                        self._report.scenes[Scene.STEP_REPEATED] += 1
            if attempt.fate is Fate.FAILS_GENERATING:
                await self._fail(video, [(self._job, "No image left"), (self._on_failure, {"gaveUpAfter": 3})])
                return False
            await self._store(video)
            await video.tell(self._job, status="READY", attempt=attempt.number)
            answer = await video.tell(self._job, status="RENDER_QUEUED", attempt=attempt.number)
            return "code" not in answer
        return False

    async def dispatch(self, renders: asyncio.TaskGroup) -> None:
        """Poll the queue with both dispatchers at once until the studio is closed, as it is when they cannot go on."""
        with self._report.errand("The dispatchers"):
            while not self.closed:
                queues = await asyncio.gather(*(each.read("renderQueue") for each in self._dispatchers))
                await asyncio.gather(
                    *(
                        self._claim(dispatcher, queue["nodes"], renders)
                        for dispatcher, queue in zip(self._dispatchers, queues, strict=True)
                    )
                )
                await asyncio.sleep(POLL_SECONDS)
        self.closed = True
        for video in self.videos.values():
            video.attempt.over.set()

    async def _claim(self, dispatcher: Caller, queue: list[dict[str, Any]], renders: asyncio.TaskGroup) -> None:
        positions = [each["queuePosition"] for each in queue if each["queuePosition"] is not None]
        self._report.check(positions == sorted(positions), f"The queue is out of order: {positions}.")
        for queued in queue:
            video = self.videos.get(queued["id"])
            if video is None:
                raise Violation(f"The queue holds {queued['id']}, which nobody queued.")
            attempt = video.attempts[queued["attempt"] - 1]
            answer = await video.tell(dispatcher, status="RENDERING", attempt=attempt.number)
            if "code" in answer:
                continue
            if answer["replayed"]:
                self._report.scenes[Scene.RENDER_CLAIMED_TWICE] += 1
            else:
                attempt.renders += 1
                self._report.check(attempt.renders == 1, f"Attempt {attempt.number} at {video.id} was rendered twice.")
                renders.create_task(self._render(video, attempt))

    async def _render(self, video: Video, attempt: Attempt) -> None:
        render = f"{video.random.getrandbits(40):010x}"
        try:
            with self._report.errand("The render farm"):
                await self._job.change(
                    "updateVideoData", recordId=video.id, renderId=render, bucketName=f"renders-{render[0]}"
                )
                seen = await self._progress(video, attempt)
                if seen is not None:
                    await self._end(video, attempt, render)
                    answer = await self._write_back(video, seen)
                    if "code" in answer:
                        self._report.scenes[Scene.OLD_STATUS] += 1
                    else:
                        self._report.violations.append(f"{video.id} was brought back from {attempt.outcome}.")
        finally:
            attempt.over.set()

    async def _progress(self, video: Video, attempt: Attempt) -> dict[str, Any] | None:
        """Report progress every 5 percent, and return what the poller saw last; None if the render was stopped."""
        seen: dict[str, Any] = {}
        last = 95 if attempt.fate not in {Fate.FAILS_RENDERING, Fate.FAILS_THEN_COMPLETES} else 40
        for percent in range(5, last + 1, 5):
            report = video.tell(self._webhook, renderProgress=percent, attempt=attempt.number)
            if percent % 20 == 0:
                # What the poller read 15 percent ago overtakes, or is overtaken by, what the webhook tells now.
                answer, late = await asyncio.gather(report, self._write_back(video, seen))
                if "code" not in late and late["videoData"]["renderProgress"] > seen["renderProgress"]:
                    self._report.scenes[Scene.OLD_PROGRESS] += 1
            else:
                answer = await report
            if "code" in answer or answer["videoData"]["status"] in FINAL:
                return None
            if percent % 20 == 5:
                seen = await self._poller.read("videoState", id=video.id)
        return seen

    async def _write_back(self, video: Video, seen: dict[str, Any]) -> dict[str, Any]:
        return await video.tell(
            self._poller, status=seen["status"], renderProgress=seen["renderProgress"], attempt=seen["attempt"]
        )

    async def _end(self, video: Video, attempt: Attempt, render: str) -> None:
        failures: list[tuple[Caller, Any]] = [
            (self._dispatchers[0], {"message": "Rate exceeded", "type": "TooManyRequestsException"}),
            (self._webhook, [{"message": "Out of memory", "isFatal": True}]),
            (self._on_failure, "The job failed after 3 retries"),
            (self._upload, {"message": "There is nothing to upload"}),
        ]
        match attempt.fate:
            case Fate.FAILS_RENDERING:
                await self._fail(video, failures)
            case Fate.FAILS_THEN_COMPLETES:
                await self._fail(video, failures)
                answer = (await self._complete(video, render))[0]
                if self._refused(answer, "FAILED"):
                    self._report.scenes[Scene.SUCCESS_AFTER_FAILURE] += 1
            case Fate.COMPLETES_THEN_FAILS:
                await self._complete(video, render)
                answer = await video.tell(
                    self._upload, status="FAILED", comments="The connection was reset", attempt=attempt.number
                )
                if self._refused(answer, "COMPLETED"):
                    self._report.scenes[Scene.FAILURE_AFTER_SUCCESS] += 1
            case Fate.CANCELED_AT_THE_END:
                completed, canceled = await asyncio.gather(self._complete(video, render), video.cancel())
                lost = canceled if attempt.outcome == "COMPLETED" else completed[0]
                if self._refused(lost, str(attempt.outcome)):
                    self._report.scenes[Scene.CANCEL_MET_END] += 1
            case _:
                await self._complete(video, render)

    async def _complete(self, video: Video, render: str) -> list[dict[str, Any]]:
        """Deliver the success twice, as the render farm does when the first answer takes it too long."""
        url = f"{FARM}/{render}/out.mp4"
        answers = await asyncio.gather(
            *(
                video.tell(self._upload, status="COMPLETED", downloadUrl=url, attempt=video.attempt.number)
                for _ in range(2)
            )
        )
        if all("code" not in answer for answer in answers):
            self._report.check(
                [answer["replayed"] for answer in answers].count(False) == 1,
                f"{video.id} was completed by both deliveries of its success, or by neither.",
            )
            self._report.scenes[Scene.SUCCESS_AGAIN] += 1
        return answers

    async def _fail(self, video: Video, failures: list[tuple[Caller, Any]]) -> None:
        """Report one failure by several reporters at once; the first one's words must stay."""
        answers = await asyncio.gather(
            *(
                video.tell(reporter, status="FAILED", comments=comments, attempt=video.attempt.number)
                for reporter, comments in failures
            )
        )
        if any("code" in answer for answer in answers):
            self._report.violations.append(f"A failure of {video.id} was refused: {answers}")
            return
        first = [comments for (_, comments), answer in zip(failures, answers, strict=True) if not answer["replayed"]]
        self._report.check(
            len(first) == 1 and all(answer["videoData"]["comments"] == first[0] for answer in answers),
            f"Of the failures of {video.id}, {len(first)} were the first, and not all show the first one's words.",
        )
        self._report.scenes[Scene.FAILURE_AGAIN] += len(failures) - 1

    async def _fail_late(self, video: Video, attempt: Attempt) -> None:
        answer = await video.tell(
            self._on_failure, status="FAILED", comments="The job failed long ago", attempt=attempt.number - 1
        )
        self._report.check(answer.get("code") == "STALE_ATTEMPT", f"An attempt that is over was failed again: {answer}")
        self._report.scenes[Scene.OLD_ATTEMPT] += 1

    async def _store(self, video: Video) -> None:
        video.captions = captions(video.random)
        await self._job.change(
            "updateVideoData",
            recordId=video.id,
            script=" ".join(sentence["text"] for sentence in video.captions["sentences"]),
            captionJson=video.captions,
            audioUrl=f"{FARM}/{video.random.getrandbits(40):010x}.mp3",
            images=[
                {"image": f"{FARM}/{video.random.getrandbits(40):010x}.png", "start": 6 * index, "duration": 6}
                for index in range(video.random.randint(4, 6))
            ],
        )

    def _refused(self, answer: dict[str, Any], status: str) -> bool:
        refused = (answer.get("code"), answer.get("currentStatus")) == ("ILLEGAL_TRANSITION", status)
        self._report.check(refused, f"A video that is {status} was to be left alone, and the answer is {answer}")
        return refused


def captions(random: Random) -> dict[str, Any]:
    """Make up what a transcription service answers for half a minute of speech: 20 to 60 KB."""
    sentences = []
    at = 0
    for _ in range(random.randint(12, 26)):
        words = []
        for _ in range(10):
            length = random.randint(60, 320)
            spoken = {"text": random.choice(WORDS), "start": at, "end": at + length, "speaker": "A"}
            words.append({**spoken, "confidence": round(random.uniform(0.5, 1), 5)})
            at += length
        text = " ".join(str(word["text"]) for word in words)
        sentences.append(
            {"text": text, "start": words[0]["start"], "end": at, "confidence": words[0]["confidence"], "words": words}
        )
    return {"sentences": sentences, "utterances": [{"speaker": "A", **sentence} for sentence in sentences]}
