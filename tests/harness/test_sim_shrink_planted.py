"""What shrinking is for: planted bugs, each found in a run of thousands of operations."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.harness.cli import main
from seatrial.harness.schedule import planned
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples/register.yml")
SEEDS = range(1, 21)        # one of which fails; as a rule the first or second


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [
    "answer-before-commit", "read-unconfirmed", "apply-twice", "vote-not-persisted",
    "commit-old-term"])
def test_a_planted_bug_shrinks_to_a_few_operations_and_faults(
    mutant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, small = str(tmp_path / "store"), tmp_path / "small.yml"
    run = ["run", EXAMPLE, "--on", "sim", "--mutant", mutant, "--time-limit", "30",
           "--store", store]
    seed = next(seed for seed in SEEDS if main([*run, "--seed", str(seed)]) == 1)
    print(f"again: seatrial shrink {EXAMPLE} --mutant {mutant} --time-limit 30 --seed {seed}")
    assert main(["shrink", f"{store}/latest", "--output", str(small), "--store", store]) == 0
    spec = validated(Document.load(small))[1]
    assert len(planned(spec).operations) <= 10
    assert len(planned(spec).faults) <= 3
    assert main(["run", str(small), "--on", "sim", "--store", store]) == 1
    capsys.readouterr()
    assert main(["replay", f"{store}/latest", "--store", store]) == 0
