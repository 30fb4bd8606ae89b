"""What all tests share: the profiles of property tests, and the table of what was covered.

``make nightly`` runs the tests marked ``randomised`` for longer: with the profile ``nightly``
here, and with the numbers that the Makefile hands to those that draw from seeds of their own.
A failing example prints the decorator that replays it (``print_blob``).
"""
from __future__ import annotations

from collections import Counter
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).parent
HOSTS = ("cluster", "netns")
KINDS = ("unit", "randomised", "corpus", "hosts", "source")

for profile, examples in (("seatrial", 100), ("nightly", 5000)):
    hypothesis.settings.register_profile(
        profile, deadline=None, print_blob=True, max_examples=examples,
        suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("seatrial")


def kind_of(item: pytest.Item) -> str:
    """Return what kind of test this is, the first that fits, most particular first."""
    if any(item.get_closest_marker(name) for name in HOSTS):
        return "hosts"
    if item.path.is_relative_to(TESTS / "source"):
        return "source"
    if "corpus" in item.nodeid:
        return "corpus"
    return "randomised" if is_randomised(item) else "unit"


def is_randomised(item: pytest.Item) -> bool:
    """Return whether a test draws its cases."""
    return (item.get_closest_marker("randomised") is not None
            or hypothesis.is_hypothesis_test(getattr(item, "function", None)))


class Covered:
    """Counts how tests of each folder and kind ended, and prints the table at the end."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[str, str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.skipped: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)   # before -m selects by marks
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remember folder and kind by node id; a property test needs no mark of its own."""
        for item in items:
            if is_randomised(item):
                item.add_marker("randomised")
            folder = item.path.relative_to(TESTS).parts[0] if TESTS in item.path.parents else "-"
            self.kinds[item.nodeid] = (folder, kind_of(item))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each test once, and all the time it took."""
        folder, kind = self.kinds.get(report.nodeid, ("-", "unit"))
        self.seconds[folder] += int(report.duration * 1000)
        if report.when == "call" and report.outcome != "skipped":
            self.counts[folder, kind] += 1
        elif report.outcome == "skipped":
            self.skipped[folder] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what was covered; pytest's own closing line comes after."""
        folders = sorted({folder for folder, _ in self.counts} | set(self.skipped))
        if not folders:
            return
        write = terminalreporter.write_line
        terminalreporter.section("covered")
        write(f"{'tests/':<14}" + "".join(f"{kind:>11}" for kind in (*KINDS, "skipped", "time")))
        for folder in folders:
            cells = [self.counts[folder, kind] for kind in KINDS] + [self.skipped[folder]]
            write(f"{folder:<14}" + "".join(f"{cell or '':>11}" for cell in cells)
                  + f"{self.seconds[folder] / 1000:>10.1f}s")
        total = [sum(self.counts[folder, kind] for folder in folders) for kind in KINDS]
        write(f"{'all':<14}" + "".join(f"{cell:>11}" for cell in total)
              + f"{sum(self.skipped.values()):>11}{sum(self.seconds.values()) / 1000:>10.1f}s")


def pytest_configure(config: pytest.Config) -> None:
    """Add the table."""
    config.pluginmanager.register(Covered(), "seatrial-covered")
