"""``make trial``: one campaign that must pass, and one with a planted bug that must be caught.

The second run is what gives the first its worth: the same faults, load and checkers, on a
node that breaks one rule of Raft. A harness that finds nothing there proves nothing here.
Exit code 0 only when the first run passes and the second ends as a violation.

``trial.py vm``, for ``make nightly``: what only machines can show, each bug beside the same test
without it; half an hour and more without KVM.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / "store"
SEATRIAL = ROOT / ".venv" / "bin" / "seatrial"
PASS, VIOLATION = 0, 1


@dataclass(frozen=True, slots=True)
class Campaign:
    """One of the runs: its test file, why it is run, the exit code it must end with, and the
    planted bug where the file itself has none."""

    file: str
    why: str
    expected: int
    mutant: str | None = None

    @property
    def meaning(self) -> str:
        """What the exit code stands for."""
        return "pass" if self.expected == PASS else "violation"


CAMPAIGNS = {
    "local": (
        Campaign("examples/register.yml", "five nodes under partitions, kills and pauses", PASS),
        Campaign("examples/planted-bug.yml", "the same, with a bug planted in the node",
                 VIOLATION)),
    "vm": (
        Campaign("examples/vm-power-loss.yml", "all machines lose power", PASS),
        Campaign("examples/vm-power-loss.yml", "the same, answered before it is on the disk",
                 VIOLATION, "write-not-synced"),
        Campaign("examples/vm-kill.yml", "the same bug under kill -9, which can't show it", PASS,
                 "write-not-synced"),
        Campaign("examples/vm-clock-bump.yml", "wall clocks are set back under leases", PASS),
        Campaign("examples/vm-clock-bump.yml", "the same, leases counted on the wall clock",
                 VIOLATION, "lease-on-wall-clock"),
        Campaign("examples/vm-clock-drift.yml", "clocks drift apart under leases", PASS),
        Campaign("examples/vm-clock-drift.yml", "the same, leases without room for that",
                 VIOLATION, "lease-without-drift"),
        Campaign("examples/vm-domains.yml", "two domains on six machines", PASS)),
}


def runs() -> set[Path]:
    """Return the folders of all runs in the store."""
    return {path.parent for path in STORE.glob("*/*/results.json") if not path.parent.is_symlink()}


def campaign(wanted: Campaign, world: str) -> tuple[int, Path | None]:
    """Run one campaign; return its exit code and the folder it made in the store."""
    before = runs()
    print(f"\n=== {wanted.file}: {wanted.why} (must end as {wanted.meaning})", flush=True)
    planted = [] if wanted.mutant is None else ["--mutant", wanted.mutant]
    code = subprocess.run([str(SEATRIAL), "run", wanted.file, "--on", world, *planted], cwd=ROOT,
                          check=False).returncode
    made = sorted(runs() - before, key=lambda path: path.name)
    return code, made[-1] if made else None


def shown(folder: Path) -> list[str]:
    """Return the lines that tell what a run showed."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    operations, faults = found["operations"], found["faults"]
    effective = [fault for fault in faults if fault["effective_ns"] is not None]
    names = sorted({fault["name"] for fault in effective})
    lines = [
        f"{found['test']}: {found['verdict']}",
        f"  {operations['ok']} ok, {operations['fail']} fail, {operations['info']} info; "
        f"{found['rates']['ok_per_s']} ok operations a second",
        f"  {len(effective)} faults took effect ({', '.join(names)}); "
        f"{found['leader_changes']} leader changes",
    ]
    if found["summary"]:
        lines.append(f"  {found['summary']}")
    lines.append(f"  report: {folder / 'report.html'}")
    return lines


def main() -> int:
    """Run the campaigns, tell what each showed, and return 0 when all ended as they must."""
    parser = argparse.ArgumentParser(description="Run campaigns of which it is known how they end.")
    parser.add_argument("world", nargs="?", choices=sorted(CAMPAIGNS), default="local")
    world = parser.parse_args().world
    lines: list[str] = []
    for wanted in CAMPAIGNS[world]:
        code, folder = campaign(wanted, world)
        if folder is not None:
            lines += shown(folder)
        if code != wanted.expected or folder is None or not (folder / "report.html").exists():
            where = f"see {folder}" if folder else "it left nothing in store/"
            print("\n".join(["", *lines]), flush=True)
            print(f"trial: {wanted.file} ended with exit code {code}, expected "
                  f"{wanted.expected} ({wanted.meaning}); {where}", file=sys.stderr)
            return 1
    print("\n=== the trial is over: all campaigns ended as they must")
    print("\n".join(lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
