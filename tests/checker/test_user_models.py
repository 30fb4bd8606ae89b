"""Models that users write, in files of theirs."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from seatrial.harness.cli import main

DOCUMENT = Path(__file__).parents[2] / "docs" / "checker.md"
GOOD = """
{:process 0 :type :invoke :f :reserve :value 3}
{:process 1 :type :invoke :f :reserve :value 4}
{:process 0 :type :ok :f :reserve :value true}
{:process 1 :type :ok :f :reserve :value false}
{:process 0 :type :invoke :f :left}
{:process 0 :type :ok :f :left :value 2}
{:process 1 :type :invoke :f :cancel :value 3}
{:process 1 :type :info :f :cancel :value 3}
{:process 2 :type :invoke :f :reserve :value 4}
{:process 2 :type :ok :f :reserve :value true}
"""


def documented(tmp_path: Path) -> str:
    """The model that the document shows, in a file."""
    found = re.search(r"```python\n(class Seats.*?)```", DOCUMENT.read_text(), re.S)
    assert found is not None
    text = found[1]
    assert len(text.splitlines()) <= 20
    (tmp_path / "seats.py").write_text("from seatrial.checker import UNKNOWN\n\n" + text)
    return f"{tmp_path}/seats.py:Seats"


def test_the_documented_model_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    model, path = documented(tmp_path), tmp_path / "h.edn"
    path.write_text(GOOD)
    assert main(["check", str(path), "--model", model]) == 0
    assert "linearizable: pass" in capsys.readouterr().out
    path.write_text(GOOD.replace(":f :left :value 2", ":f :left :value 1"))
    assert main(["check", str(path), "--model", model]) == 1
    assert "left" in capsys.readouterr().out
    path.write_text(GOOD.replace("4}\n{:process 2 :type :ok", "6}\n{:process 2 :type :ok"))
    assert main(["check", str(path), "--model", model]) == 1
    assert "p2's reserve" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "name", "message"), [
    (None, "Seats", "m.py: can't read it; expected FILE.py:NAME"),
    ("class Other: pass\n", "Seats", "m.py: no class 'Seats' in it"),
    ("class Seats:\n    initial = 0\n", "Seats",
     "m.py: Seats has no name and no step; expected name, initial, step"),
    ("x = 1\ny = x.z\nclass Seats: pass", "Seats", "m.py:2: AttributeError: 'int' object has no"),
    ("class Seats\n", "Seats", "m.py:1: SyntaxError: expected ':'"),
    ("class Seats:\n    def __init__(self):\n        1 / 0\n", "Seats",
     "m.py:3: ZeroDivisionError: division by zero"),
])
def test_a_file_without_a_model_is_one_line_and_exit_254(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, name: str, message: str,
) -> None:
    path = tmp_path / "m.py"
    if text is not None:
        path.write_text(text)
    (tmp_path / "h.edn").write_text(GOOD)
    assert main(["check", str(tmp_path / "h.edn"), "--model", f"{path}:{name}"]) == 254
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
