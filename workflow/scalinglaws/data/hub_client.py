"""The client that asks a hub of Hugging Face: it waits a stated time, tries a few times, and checks what becomes a name."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any

import httpx2
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled, RevisionResolutionError

TRIES = 3  # requests for one address in a row that may get no answer
PAUSE = 300  # seconds; a server that is busy may ask for a pause as long as this
MOST = 100  # requests for one address, each of whose answers may be cut
# What a hub's answer to a request for a file says that becomes the name of a file in the hub's cache.
NAMES = ("ETag", "X-Linked-ETag", "X-Repo-Commit")

# What the hub's library raises where an answer cannot be had, or is not what a hub answers: it checks no JSON that it is given.
FAILURES: tuple[type[Exception], ...] = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, LookupError, TypeError)
FAILURES += (AttributeError, AssertionError, RecursionError, RevisionResolutionError)


class NoAnswer(OfflineModeIsEnabled):
    """A server did not answer TRIES times, or not to the end. The hub's library then takes what its cache holds, as offline."""


@functools.cache
def be_patient() -> None:
    """Make the hub's library use a client that waits HF_HUB_DOWNLOAD_TIMEOUT seconds (10) for a connection and for each read.

    The library itself sets no limit for some of its requests; it tries again with growing pauses, and says so on stderr.
    """
    hooks: dict[str, list[Any]] = get_session().event_hooks
    unanswered: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()

    def before(request: httpx2.Request) -> None:
        key = (request.method, str(request.url))
        limit = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        if unanswered[key] == TRIES:
            raise NoAnswer(f"{request.url.host} did not answer within {limit:g} seconds, {TRIES} times")
        if asked[key] == MOST:
            raise NoAnswer(f"{request.url.host} cut its answer {MOST} times")
        unanswered[key] += 1
        asked[key] += 1
        given = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            what: min(given.get(what) or limit, limit) for what in ("connect", "read", "write", "pool")
        }

    def after(response: httpx2.Response) -> None:
        unanswered.pop((response.request.method, str(response.request.url)), None)
        for name in ("Retry-After", "RateLimit"):
            numbers = re.findall(r"\d+", response.headers.get(name, ""))
            if any(len(number) > 9 or int(number) > PAUSE for number in numbers):
                del response.headers[name]
        for name in NAMES:
            value = response.headers.get(name, "").removeprefix("W/").strip('"')
            if value.startswith("/") or ".." in value or "\\" in value:
                raise ValueError(f"the hub's answer holds the {name} {value!r}, which is no name of a file")

    def client() -> httpx2.Client:
        events = {"request": [*hooks["request"], before], "response": [*hooks["response"], after]}
        return httpx2.Client(event_hooks=events, follow_redirects=True)

    set_client_factory(client)
