"""The results of a benchmark, in the format that all of them share."""
from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def save(suite: str, rows: list[dict[str, Any]]) -> Path:
    """Write bench/results/<suite>/<time>.json and a copy, latest.json; return the file's path,
    relative to the project."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=False,
                            capture_output=True, text=True)
    results = {
        "machine": {"system": platform.platform(), "cores": os.cpu_count(),
                    "python": platform.python_version()},
        "commit": commit.stdout.strip() or None, "suite": suite, "rows": rows,
    }
    folder = ROOT / "bench" / "results" / suite
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    shutil.copyfile(path, folder.parent / "latest.json")
    return path.relative_to(ROOT)
