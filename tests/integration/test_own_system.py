"""The worked example of docs/testing-your-own-system.md, installed and run as a user would."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lazykv"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example's package, with its entry point, into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "lazykv"
    subprocess.run(["cp", "-r", EXAMPLE, source], check=True)   # a build leaves files beside it
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
                    "--no-build-isolation", "--target", str(folder), str(source)], check=True)
    return folder


@pytest.mark.cluster
def test_a_store_that_acknowledges_before_it_copies_is_found_out(
    installed: Path, tmp_path: Path
) -> None:
    path = os.pathsep.join([str(installed), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-m", "seatrial.harness", "run", str(EXAMPLE / "lazykv.yml"),
         "--seed", "1", "--store", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = json.loads((tmp_path / "latest" / "results.json").read_text(encoding="utf-8"))
    assert results["checks"]["linearizable"]["verdict"] == "violation"
    assert "can't be placed" in results["checks"]["linearizable"]["text"]
    assert [fault for fault in results["faults"] if fault["effective_ns"] is not None]
    assert (tmp_path / "latest" / "nodes" / "n1" / "log").exists()
    assert (tmp_path / "latest" / "report.html").exists()
