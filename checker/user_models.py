"""Models that users write: a class in a file of theirs, named as ``FILE.py:NAME``.

The file is run, as any program of the user's.
"""
from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from .errors import CheckerError
from .models import UserModel

MARK = ".py:"                   # what a name must have to be one of these
NEEDED = ("name", "initial", "step")


def load(spec: str) -> UserModel:
    """Return an instance of the class that ``FILE.py:NAME`` names."""
    path, _, name = spec.rpartition(":")
    found = importlib.util.spec_from_file_location(Path(path).stem, path)
    if not Path(path).is_file() or found is None or found.loader is None:
        raise CheckerError(f"{path}: can't read it; expected FILE.py:NAME, a class in a file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise _broken(path, error) from error
    if not isinstance(getattr(module, name, None), type):
        raise CheckerError(f"{path}: no class {name!r} in it")
    try:
        model: UserModel = getattr(module, name)()
    except Exception as error:
        raise _broken(path, error) from error
    missing = [member for member in NEEDED if not hasattr(model, member)]
    if missing:
        raise CheckerError(f"{path}: {name} has no {' and no '.join(missing)}; expected "
                           f"{', '.join(NEEDED)}")
    return model


def _broken(path: str, error: Exception) -> CheckerError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename == path]
    line = f":{frames[-1].lineno}" if frames else ""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        line = f":{error.lineno}"
    return CheckerError(f"{path}{line}: {type(error).__name__}: {error}")
