"""The store: where a run's files go, and what happens when they can't."""
from __future__ import annotations

import re
import resource
import threading
from pathlib import Path

import pytest

from seatrial.harness import store as store_module
from seatrial.harness.errors import BadInput, HarnessFailure
from seatrial.harness.store import Store, safe_name, write_whole


def test_a_run_gets_a_folder_of_its_own_and_latest_names_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first, second = store.begin("register"), store.begin("register")
    assert first.path != second.path
    assert first.path.parent == second.path.parent == tmp_path / "store" / "register"
    latest = store.latest()
    assert latest is not None
    assert latest.path == second.path.resolve()
    assert not (tmp_path / "store" / "latest").readlink().is_absolute()


def test_runs_are_listed_in_the_order_they_began_over_all_tests(tmp_path: Path) -> None:
    store = Store(tmp_path)
    began = [store.begin(name).path for name in ("zebra", "ant", "zebra", "ant")]
    assert [run.path for run in store.runs()] == began
    assert [run.path for run in store.runs("ant")] == [began[1], began[3]]
    assert store.runs("nobody") == []


def test_an_empty_store_has_no_runs_and_no_latest(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").runs() == []
    assert Store(tmp_path / "none").latest() is None


def test_folders_that_are_no_runs_are_not_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = store.begin("register")
    (tmp_path / "register" / "notes").mkdir()
    assert store.runs() == [run]


def test_runs_that_begin_at_once_never_share_a_folder(tmp_path: Path) -> None:
    store, found, lock = Store(tmp_path), [], threading.Lock()

    def begin() -> None:
        for _ in range(20):
            run = store.begin("race")
            with lock:
                found.append(run.path)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 80
    assert store.latest() is not None
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(("name", "safe"), [
    ("register", "register"),
    ("a b/c", "a-b-c"),
    ("../../etc/passwd", "etc-passwd"),
    (".hidden", "hidden"),
    ("latest", "latest-test"),
    ("x" * 300, "x" * 100),
    ("né\n\x00", "n"),
])
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["", "..", "/", "\x00", "---"])
def test_a_name_without_a_letter_or_digit_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"test name .*: expected at least one letter or digit"):
        safe_name(name)


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    run = Store(tmp_path).begin("register")
    run.write("results.json", b"old")
    run.write("results.json", "new")
    assert run.results.read_text() == "new"
    assert [path.name for path in run.path.iterdir()] == ["results.json"]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "results.json"
    write_whole(path, b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(HarnessFailure, match=re.escape(f"{path}: can't write to the store: No sp")):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["results.json"]


def test_a_file_that_the_system_refuses_to_let_grow_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    run = Store(tmp_path).begin("register")
    run.write("report.html", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(HarnessFailure, match=r"report\.html: can't write to the store: File"):
            run.write("report.html", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.report.read_bytes() == b"old"
    assert [path.name for path in run.path.iterdir()] == ["report.html"]


def test_a_place_that_is_no_folder_ends_in_one_line_that_names_it() -> None:
    with pytest.raises(HarnessFailure, match=r"^/dev/full/register: can't write to the store: "):
        Store("/dev/full").begin("register")


def test_a_latest_that_is_a_real_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest" / "mine").mkdir(parents=True)
    with pytest.raises(HarnessFailure, match=r"latest: can't write to the store"):
        Store(tmp_path).begin("register")
    assert (tmp_path / "latest" / "mine").is_dir()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_secrets_never_enter_the_store(tmp_path: Path) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r\n-----END OPENSSH PRIVATE KEY-----\n"
    run = Store(tmp_path).begin("register")
    run.write_json("test.json", {
        "hosts": [{"user": "root", "password": "hunter2", "key_file": "/root/.ssh/id"}],
        "note": f"before {key} after", "api_key": "abc", "db": {"access_token": {"a": "xyzzy"}},
        "tokens": 3, "secret": None,
    })
    text = run.test.read_text()
    for secret in ("hunter2", "b3BlbnNzaC1r", "abc", "xyzzy"):
        assert secret not in text
    for kept in ("/root/.ssh/id", "root", "before", "after", '"tokens": 3', '"secret": null'):
        assert kept in text


def test_what_is_fetched_from_a_host_has_a_folder_named_like_it(tmp_path: Path) -> None:
    run = Store(tmp_path).begin("register")
    assert run.node("n1") == run.path / "nodes" / "n1"
    assert run.node("../n1").is_relative_to(run.nodes)
