"""What a test file says of the simulated world only."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.harness.errors import BadInput
from seatrial.harness.launch import Request, plan

TEXT = """
name: short
topology: {nodes: 3}
workload: {name: register}
time_limit: 60
faults: {names: [kill], duration: 4, gap: 2, settle: 15}
coverage: {min_ok: 5000}
sim:
  time_limit: 7
  faults: {duration: 1, settle: 0}
  coverage: {min_ok: 10}
"""


def written(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "test.yml"
    path.write_text(text)
    return path


def test_a_simulated_run_is_what_the_file_says_of_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    spec = plan(Request(path, tmp_path, "sim", overrides={"--seed": (("seed",), 1)})).spec
    assert (spec.time_limit, spec.coverage.min_ok) == (7, 10)
    assert (spec.faults.duration, spec.faults.gap, spec.faults.settle) == (1, 2, 0)
    assert spec.in_simulation() == spec
    spec = plan(Request(path, tmp_path, "local", overrides={"--seed": (("seed",), 1)})).spec
    assert (spec.time_limit, spec.coverage.min_ok, spec.faults.duration) == (60, 5000, 4)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    overrides = {"--seed": (("seed",), 1), "--time-limit": (("time_limit",), 3.0)}
    assert plan(Request(written(tmp_path), tmp_path, "sim", overrides=overrides)
                ).spec.time_limit == 3


@pytest.mark.parametrize(("line", "said"), [
    ("  time_limit: soon", "sim.time_limit"),
    ("  faults: {names: [kill]}", "sim.faults.names"),
    ("  coverage: {min_fault_names: 2}",
     "sim.coverage.min_fault_names is 2, but faults.names has only 1"),
])
def test_what_makes_no_sense_is_refused_by_its_key(tmp_path: Path, line: str, said: str) -> None:
    text = TEXT[:TEXT.index("sim:")] + "sim:\n" + line + "\n"
    with pytest.raises(BadInput, match=said.replace(".", r"\.")):
        plan(Request(written(tmp_path, text), tmp_path, "sim",
                     overrides={"--seed": (("seed",), 1)}))
