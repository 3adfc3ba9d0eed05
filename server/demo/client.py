"""Who calls the API in the demo: sends the app's operations, times them, and counts the answers."""

import asyncio
import time
from importlib.resources import files
from typing import Any

import httpx2
from graphql import parse, print_ast
from graphql.utilities import separate_operations

from server.demo.report import Report, Violation

ANSWER_SECONDS_MAX = 60
OPERATIONS = {
    name: print_ast(document)
    for name, document in separate_operations(
        parse(files("server.demo").joinpath("operations.graphql").read_text("utf-8"))
    ).items()
}


class Dropped(Violation):
    """A request whose caller closed the connection before the answer came."""


class Caller:
    """A browser, a job, a dispatcher or a webhook, by its HTTP client, which signs what it sends."""

    def __init__(self, http: httpx2.AsyncClient, url: str, report: Report) -> None:
        self._http = http
        self._url = url
        self._report = report

    async def read(self, operation: str, **variables: Any) -> Any:
        """Return what a query's one field holds; Violation when that is nothing."""
        found = await self._send(operation, variables)
        self._report.answers[operation]["read"] += 1
        if found is None:
            raise Violation(f"{operation} found nothing.")
        return found

    async def change(
        self, operation: str, *refusals: str, answer_seconds: float = ANSWER_SECONDS_MAX, **input: Any
    ) -> dict[str, Any]:
        """Return a mutation's success, or one of these refusals (by code); Violation when it is any other.

        Dropped when the answer takes longer than `answer_seconds`.
        """
        answer: dict[str, Any] = await self._send(operation, {"input": input}, answer_seconds)
        code = answer.get("code")
        self._report.answers[operation][code or ("replayed" if answer.get("replayed") else "changed")] += 1
        if code is not None and code not in refusals:
            raise Violation(f"{operation} was refused: {answer['message']}")
        return answer

    async def change_twice(self, operation: str, *refusals: str, **input: Any) -> list[dict[str, Any]]:
        """Send a mutation twice at once; if both succeed, one of them must be a replay."""
        answers = await asyncio.gather(*(self.change(operation, *refusals, **input) for _ in range(2)))
        if all("code" not in answer for answer in answers):
            self._report.check(
                sorted(answer["replayed"] for answer in answers) == [False, True],
                f"{operation}, sent twice at once, was not done once: {answers}",
            )
        return answers

    async def _send(self, operation: str, variables: dict[str, Any], answer_seconds: float = ANSWER_SECONDS_MAX) -> Any:
        sent = time.perf_counter()
        content = {"query": OPERATIONS[operation], "variables": variables}
        timeout = httpx2.Timeout(ANSWER_SECONDS_MAX, read=answer_seconds)
        try:
            response = await self._http.post(self._url, json=content, timeout=timeout)
            body: dict[str, Any] = response.json()
        except httpx2.ReadTimeout as error:
            raise Dropped(f"{operation} was not answered in {answer_seconds} seconds.") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise Violation(f"{operation} was not answered: {error!r}") from error
        self._report.latencies_seconds.append(time.perf_counter() - sent)
        if "errors" in body:
            raise Violation(f"{operation} was answered with an error: {body['errors'][0]['message']}")
        (found,) = body["data"].values()
        return found
