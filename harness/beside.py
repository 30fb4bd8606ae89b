"""What else is judged of a run's folder, beside its history, when it is judged again.

The test that lies there says what to look for in the logs, and how available the system was to be.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from seatrial.checker import CheckResult, History
from seatrial.checker.availability import Bounds, check_availability
from seatrial.checker.split_brain import split_brain_checks

from .availability import availability_check
from .errors import BadInput
from .log_checks import log_checks, logs_of_run
from .results import read_results
from .store import RunFolder
from .testfile import LogSearch, Spec, validated
from .yamlfile import Document


def checks_beside(place: Path, history: History, more: LogSearch) -> list[CheckResult]:
    """Judge logs and availability. place: a run's folder, or a history without one.

    more: to look for beside what the test says.
    """
    folder = RunFolder(place)
    if not folder.test.is_file():
        return [*split_brain_checks(history), *log_checks(more, logs_of_run(folder.nodes)),
                *_measured(history)]
    spec = _spec(folder)
    search = spec.checks.logs
    search = search.model_copy(update={"patterns": search.patterns + more.patterns})
    return [*split_brain_checks(history), *log_checks(search, logs_of_run(folder.nodes)),
            availability_check(spec, history, _nodes(folder, spec))]


def _measured(history: History) -> list[CheckResult]:
    """Nothing was declared; and where nobody noted the time there is nothing to measure."""
    if not np.any(history.time > 0):
        return []
    return [check_availability(history, [], Bounds())]


def _spec(folder: RunFolder) -> Spec:
    try:
        data = msgspec.json.decode(folder.test.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput(f"{folder.test}: expected the test of a run: {error}") from error
    return validated(Document(str(folder.test), data, {}))[1]


def _nodes(folder: RunFolder, spec: Spec) -> Sequence[str]:
    if folder.results.is_file():
        return read_results(folder.results).nodes
    return [node.name for domain in spec.topology.tree().domains for node in domain.nodes]
