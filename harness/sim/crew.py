"""Workers that share the seeds of a test.

A seed that does not pass may be run once more, with a folder; the second run must have the digest
of the first. A worker that dies costs the seed it was at, which counts as a failure of the
harness, and is replaced.
"""
from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from ..launch import Request
from ..results import VERDICTS
from .answer import Answer
from .worker import Ended, Task, Worker

AHEAD = 2                # tasks a worker has: one it works at, one that waits for it
FAILURE = "harness-failure"
PROCESS = "process"      # what is said to have failed when a worker died


def crew(
    request: Request, seeds: Iterable[int], *, jobs: int, python_path: Path | None = None,
    keeps: Callable[[Answer], bool] = lambda answer: False,
) -> Generator[Answer, None, None]:
    """Yield how each seed ended, as they end. Closing the iterator ends the workers.

    python_path: what they import from first. keeps: whether a seed that did not pass is to have
    a folder.
    """
    members = Crew(request, python_path, keeps)
    try:
        yield from members.work(deque(Task(seed) for seed in seeds), jobs)
    finally:
        members.end()


class Crew:
    """The workers, and what they are still to do."""

    def __init__(self, request: Request, python_path: Path | None,
                 keeps: Callable[[Answer], bool]) -> None:
        self._request = request
        self._python_path = python_path
        self._keeps = keeps
        self._selector = selectors.DefaultSelector()
        self._first: dict[int, Answer] = {}         # of seeds that are being run once more
        self._failed = 0                            # workers that ended before their first answer

    def work(self, todo: deque[Task], jobs: int) -> Iterator[Answer]:
        """Do all tasks."""
        for _ in range(min(jobs, len(todo))):
            self._hire(todo)
        while any(worker.tasks for worker in self._workers()):
            for key, _ in self._selector.select():
                worker = key.fileobj
                assert isinstance(worker, Worker)
                try:
                    found = worker.answers()
                except Ended as ended:
                    yield from self._bury(worker, str(ended), todo)
                    continue
                for task, answer in found:
                    yield from self._judge(task, answer, todo)
                self._feed(worker, todo)

    def end(self) -> None:
        """End all workers."""
        for worker in self._workers():
            self._dismiss(worker)
        self._selector.close()

    def _workers(self) -> list[Worker]:
        return [key.fileobj for key in self._selector.get_map().values()
                if isinstance(key.fileobj, Worker)]

    def _hire(self, todo: deque[Task]) -> None:
        worker = Worker(self._request, self._python_path)
        self._selector.register(worker, selectors.EVENT_READ)
        self._feed(worker, todo)

    def _feed(self, worker: Worker, todo: deque[Task]) -> None:
        while todo and len(worker.tasks) < AHEAD:
            worker.give(todo.popleft())

    def _dismiss(self, worker: Worker) -> None:
        self._selector.unregister(worker)
        worker.end()

    def _judge(self, task: Task, answer: Answer, todo: deque[Task]) -> Iterator[Answer]:
        """Yield a seed's answer, unless it is to be run once more."""
        first = self._first.pop(task.seed, None)
        if first is not None and first.digest != answer.digest:
            answer.verdict = FAILURE
            answer.error = answer.summary = (
                f"not the same run twice: digest {first.digest} ({first.verdict}), then "
                f"{answer.digest} with the folder")
        elif not task.keep and VERDICTS[answer.verdict] and self._keeps(answer):
            self._first[task.seed] = answer
            todo.appendleft(Task(task.seed, keep=True))
            return
        yield answer

    def _bury(self, worker: Worker, how: str, todo: deque[Task]) -> Iterator[Answer]:
        """Replace a worker that is gone; yield what became of the seed it was at."""
        self._dismiss(worker)
        if worker.tasks:
            lost = worker.tasks.popleft()
            self._first.pop(lost.seed, None)
            why = f"its process {how}"
            yield Answer(seed=lost.seed, verdict=FAILURE, summary=why, error=why,
                         checks={PROCESS: FAILURE})
        todo.extendleft(reversed(worker.tasks))
        if todo:
            self._hire(todo)
