"""The report's drawings: reducing loses no extreme, and each thing is drawn where it belongs."""
from __future__ import annotations

import re

import numpy as np
import pytest

from seatrial.checker.history import History
from seatrial.harness.report import series, svg
from seatrial.harness.report.bands import Band, bands, legend
from seatrial.harness.report.palette import FAULTS, fault_colour
from seatrial.harness.report.series import Timed
from seatrial.harness.report.spacetime import Axis, Bar, spacetime
from seatrial.harness.report.timeline import WIDTH, timeline
from seatrial.harness.results import Fault, Leader

from .fabricate import S, voyage

FS = ("read", "write")


def many(count: int) -> Timed:
    """Return operations with latencies of a few ms and some outliers."""
    rng = np.random.default_rng(7)
    due = np.sort(rng.uniform(0, 600, count))
    due[0], due[-1] = 0, 600
    ms = rng.lognormal(1, 0.5, count)
    ms[rng.integers(0, count, 20)] *= 1000
    return Timed(due, due + ms / 1e3, rng.integers(0, 2, count), rng.integers(1, 3, count), FS)


@pytest.mark.parametrize("count", [1, 100, 500_000])
def test_the_scatter_stays_small_and_keeps_the_extremes_of_every_column(count: int) -> None:
    operations = many(count)
    groups = series.scatter(operations)
    assert sum(group.total for group in groups) == count
    assert sum(len(group.seconds) for group in groups) <= min(count, 60_000)
    column = (operations.due / 600 * series.COLUMNS).astype(int)
    for group in groups:
        mine = (operations.f == FS.index(group.f)) & (
            operations.outcome == ("invoke", "ok", "fail").index(group.outcome))
        drawn = (group.seconds / 600 * series.COLUMNS).astype(int)
        for one in np.unique(column[mine])[1:-1]:
            here = operations.ms[mine & (column == one)]
            assert group.ms[drawn == one].max() == here.max()
            assert group.ms[drawn == one].min() == here.min()


def test_rates_add_up_to_all_operations() -> None:
    operations = many(10_000)
    width = series.bin_width(float(operations.end.max()))
    lines = series.rate(operations)
    assert sum(line.values.sum() * width for line in lines) == pytest.approx(10_000)
    assert {line.label for line in lines} == {"read ok", "read fail", "write ok", "write fail"}


def test_percentiles_are_those_of_the_bin_and_empty_bins_have_none() -> None:
    due = np.array([0.0] * 100 + [59.0])
    ms = np.array([*range(1, 101), 7.0])
    operations = Timed(due, due + ms / 1e3, np.zeros(101, int), np.ones(101, int), FS)
    lines = {line.label: line.values for line in series.percentiles(operations)}
    width = series.bin_width(float(operations.end.max()))
    assert width == 0.5
    assert lines["p50"][0] == pytest.approx(50)
    assert lines["p99"][0] == pytest.approx(99)
    assert lines["slowest"][0] == pytest.approx(100)
    assert np.isnan(lines["p50"][1])
    assert lines["p50"][-1] == pytest.approx(7)


def test_operations_without_an_answer_do_not_count_for_percentiles() -> None:
    operations = Timed(np.zeros(2), np.array([0.001, 5.0]), np.zeros(2, int), np.array([1, 3]), FS)
    lines = {line.label: line.values for line in series.percentiles(operations)}
    assert np.nanmax(lines["slowest"]) == pytest.approx(1.0)


@pytest.mark.parametrize(("span", "most", "step"), [
    (60, 12, 5), (60, 240, 0.5), (7, 10, 1), (0, 5, 1), (1000, 10, 100), (0.03, 10, 0.005),
])
def test_steps_are_round_and_not_too_many(span: float, most: int, step: float) -> None:
    assert svg.nice_step(span, most) == pytest.approx(step)


def test_a_fault_without_an_end_lasts_to_the_end_and_an_ineffective_one_has_no_band() -> None:
    faults = [Fault("kill", "crash", ["n1"], 0, 1 * S, None, None),
              Fault("pause", "timing", ["n2"], 2 * S), Fault("kill", "crash", [], 0, 3 * S, 4 * S)]
    shown = bands(faults, 9 * S)
    assert [(band.name, band.start_s, band.end_s) for band in shown] == [
        ("kill", 1.0, 9.0), ("kill", 3.0, 4.0)]
    assert legend(shown) == [("kill", FAULTS["kill"], 2)]


def test_an_administrators_work_is_shown_from_the_request_to_the_recovery() -> None:
    times = (1 * S, 2 * S, 3 * S, 4 * S)
    (band,) = bands([Fault("member-add", "membership", ["n6"], *times, gentle=True)], 9 * S)
    assert (band.start_s, band.end_s) == (1.0, 4.0)
    (band,) = bands([Fault("member-add", "membership", ["n6"], *times)], 9 * S)
    assert (band.start_s, band.end_s) == (2.0, 3.0)


def test_colours_are_the_names_own_in_every_report() -> None:
    assert len(set(FAULTS.values())) == len(FAULTS)
    assert fault_colour("kill") == FAULTS["kill"]
    assert fault_colour("disk-full") == fault_colour("disk-full") != fault_colour("kill")


def xs(drawing: str, title: str) -> tuple[float, float]:
    """Return the left and right edge of the bar with this tooltip."""
    found = re.search(rf'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*><title>{title}',
                      drawing)
    assert found is not None, title
    return float(found[1]), float(found[1]) + float(found[2])


def test_the_timeline_has_each_reign_up_to_the_next_and_each_fault_on_its_targets() -> None:
    leaders = [Leader(1, "n1", 0), Leader(2, None, 3 * S), Leader(3, "n2", 4 * S)]
    drawing = timeline(["n1", "n2"], leaders, [Band("kill", ("n1",), 3.0, 5.0, True)], 10.0)
    assert xs(drawing, "n1 leads in term 1")[1] == pytest.approx(
        xs(drawing, "kill on n1")[0], abs=0.11)
    assert xs(drawing, "n2 leads in term 3")[1] == pytest.approx(WIDTH - 150, abs=0.11)
    assert drawing.count("kill on n1") == 1
    assert "term 2" not in drawing


def test_squeezed_time_keeps_the_order_of_events() -> None:
    moments = [5, 1, 10**12, 2, 6, 10**12 + 1]
    axis = Axis(moments)
    places = [axis.x[moment] for moment in sorted(moments)]
    assert places == sorted(set(places))
    assert max(places) <= 1120


def test_a_lone_operation_can_be_drawn() -> None:
    drawing = spacetime([Bar(1, "read", "read → 3", 5, 5)], "one")
    assert "read → 3" in drawing


def test_a_value_that_was_seen_is_joined_to_the_write_it_came_from() -> None:
    bars = [Bar(1, "write", "write 3", 0, 10, wrote="3"), Bar(2, "read", "read → 3", 20, 30,
                                                              saw="3", culprit=True)]
    assert 'class="source culprit"' in spacetime(bars, "two")
    assert "class=\"source" not in spacetime([bars[0]], "one")


def test_a_long_label_is_cut_and_stays_whole_in_its_tooltip() -> None:
    long = "write " + "x" * 300
    drawing = spacetime([Bar(1, "write", long, 0, 1), Bar(1, "read", "read → 1", 2, 3)], "long")
    assert f"<title>{long}</title>" in drawing
    assert f">{long}</text>" not in drawing


def test_the_figure_of_a_whole_campaign_weighs_little() -> None:
    operations = series.timed(voyage().history())
    assert len(operations.due) > 10_000
    assert sum(len(group.seconds) for group in series.scatter(operations)) < 12_000


def test_an_empty_history_has_no_series() -> None:
    operations = series.timed(History.from_rows([]))
    assert series.scatter(operations) == []
    assert series.rate(operations) == []
