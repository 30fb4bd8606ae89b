"""The wheelhouse: what hosts get is what runs here, made once for each state of the code."""
from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.workloads.systems import wheelhouse as houses
from seatrial.workloads.systems import wheels


@pytest.fixture(autouse=True, scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for this module: wheels are made once, and not in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def unpacked(archive: Path, site: Path) -> Path:
    with tarfile.open(archive) as packed:
        for member in packed:
            file = packed.extractfile(member)
            assert file is not None
            with zipfile.ZipFile(file) as wheel:
                assert wheel.testzip() is None
                wheel.extractall(site)
    return site


def test_the_node_runs_from_unpacked_wheels_alone(tmp_path: Path) -> None:
    site = unpacked(houses.wheelhouse(mutants=False).archive, tmp_path / "site")
    code = ("import seatrial.core.wal, seatrial.core.replica, uvloop, msgspec, yaml, "
            "prometheus_client; print(seatrial.core.wal.__file__)")
    answer = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(site)}, cwd=tmp_path,
        check=True, capture_output=True, text=True,
    )
    assert Path(answer.stdout.strip()).is_relative_to(site)


def test_hosts_get_the_node_and_nothing_of_the_harness(tmp_path: Path) -> None:
    site = unpacked(houses.wheelhouse(mutants=False).archive, tmp_path / "site")
    assert [path.name for path in (site / "seatrial").iterdir()] == ["core"]
    assert not list((site / "seatrial").rglob("*.pyx"))


def test_the_same_code_finds_the_same_wheelhouse() -> None:
    first = houses.wheelhouse(mutants=False)
    made = first.archive.stat().st_mtime_ns
    assert houses.wheelhouse(mutants=False) == first
    assert first.archive.stat().st_mtime_ns == made


def test_an_interrupted_build_leaves_nothing_that_looks_finished(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, dist: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "repack", broken)
    with pytest.raises(KeyboardInterrupt):
        houses.wheelhouse(mutants=False)
    assert list((own_cache / "seatrial" / "wheelhouse").iterdir()) == []


def test_a_cache_that_can_not_be_written_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seatrial").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HarnessFailure, match=r"wheelhouse: can't keep wheels there: "):
        houses.wheelhouse(mutants=False)


def test_only_the_newest_wheelhouses_are_kept(own_cache: Path) -> None:
    folder = own_cache / "seatrial" / "wheelhouse"
    for number in range(houses.KEPT + 2):
        (folder / f"old{number}").mkdir(parents=True)
    made = houses.wheelhouse(mutants=False)
    left = [path.name for path in folder.iterdir()]
    assert len(left) == houses.KEPT
    assert made.digest in left


def test_a_module_older_than_its_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raft.pyx").write_text("")
    monkeypatch.setattr(wheels, "core_folder", lambda: tmp_path)
    with pytest.raises(HarnessFailure, match=r"raft\.pyx: newer than its compiled module"):
        wheels.node_files()


def test_planted_bugs_need_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "core_folder", lambda: tmp_path / "core")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="planted bugs need seatrial's source tree"):
        wheels.mutant_sources()


@pytest.mark.slow
def test_the_wheel_with_planted_bugs_names_them_and_says_so_in_its_version(
    tmp_path: Path,
) -> None:
    site = unpacked(houses.wheelhouse(mutants=True).archive, tmp_path / "site")
    names = subprocess.run(
        [sys.executable, "-S", "-c", "from seatrial.core.mutants import NAMES; print(*NAMES)"],
        env={"PYTHONPATH": str(site)}, cwd=tmp_path, check=True, capture_output=True, text=True,
    )
    assert names.stdout.split() == wheels.mutant_names()
    assert len(wheels.mutant_names()) >= 5
    assert [path.name for path in site.glob("seatrial-*+mutants.dist-info")]
