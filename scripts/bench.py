"""``make bench``: run every benchmark in bench/, one after the other, on an otherwise idle machine.

Each writes bench/results/<suite>/<time>.json and prints a table. What can't be measured here
(a tool that is missing) is said by the benchmark itself.
"""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run them all; return the first exit code that is not 0."""
    failed = 0
    for script in sorted((ROOT / "bench").glob("*.py")):
        if script.name.startswith("_"):
            continue
        print(f"\n=== {script.relative_to(ROOT)}", flush=True)
        code = subprocess.run([sys.executable, str(script)], cwd=ROOT, check=False).returncode
        failed = failed or code
    return failed


if __name__ == "__main__":
    sys.exit(main())
