"""Work on text in batches of bounded size, mapped in order over processes, with a progress line on stderr."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from scalinglaws.common.errors import StudyError

Item = TypeVar("Item")
Result = TypeVar("Result")


def batched(items: Iterable[Item], size: Callable[[Item], int], limit: int) -> Iterator[list[Item]]:
    """Yield lists of consecutive items; a list ends with the item that brings the sum of ``size`` to ``limit`` or above."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= limit:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Map a function over items in ``workers`` processes, in the order of the items, with few items in flight at once.

    Raises StudyError where a process is killed, and whatever ``function`` raises.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    # Spawned, not forked: the parent may hold threads (tokenizers, pyarrow).
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise StudyError("a worker process was killed, perhaps for memory: try again with fewer workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


class TextProgress:
    """A line on stderr every few seconds with the bytes done, the rate and the time left; work that ends sooner has none."""

    EVERY = 5.0  # seconds

    def __init__(self, label: str, total: int) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.start = self.printed = time.monotonic()

    def add(self, count: int) -> None:
        """Count ``count`` more bytes as done."""
        self.done += count
        now = time.monotonic()
        if now - self.printed < self.EVERY:
            return
        self.printed = now
        rate = self.done / (now - self.start)
        total = max(self.total, self.done)
        left = (total - self.done) / rate if rate else 0.0
        print(
            f"{self.label}: {self.done / 1e6:.0f} of {total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
