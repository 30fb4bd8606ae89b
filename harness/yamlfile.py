"""YAML that a person wrote: read strictly, and refused in one line that names the place.

A wrong test file must not start hosts. Every complaint is one line of the same shape::

    register.yml:14: workload.options.keys: expected a whole number, got 'many'

so a ``Document`` remembers on which line each key stands, and ``validate`` turns the first
complaint of pydantic into that line. Values given on the command line replace keys of the
document (``override``); a complaint about such a value names the option, not the file.

Stricter than YAML: a key given twice is an error (YAML keeps the last one in silence), and
keys are strings (``on:`` is a boolean to YAML 1.1).
"""
from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import BadInput

SIZE_MAX = 1 << 20  # bytes of a file a person wrote
At = tuple[str | int, ...]  # path of a key: ("workload", "options", "keys")
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of every section of a file: no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" when something known looks like ``name``, and what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    asked = f"did you mean {close[0]!r}? " if close else ""
    return f"{asked}(known: {', '.join(names) or 'none'})"


class Document:
    """The content of one file: nested dicts, with the line of each key."""

    def __init__(self, name: str, data: dict[str, Any], lines: Mapping[At, int]) -> None:
        self.name = name
        self.data = data
        self.lines = lines
        self.options: dict[At, str] = {}

    @classmethod
    def load(cls, path: Path) -> Document:
        """Read a file; BadInput names the line and column of what is malformed."""
        try:
            if path.stat().st_size > SIZE_MAX:
                raise BadInput(f"{path}: larger than {SIZE_MAX} bytes, not a test file")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}") from None
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}: not UTF-8 text (byte {error.start})") from None
        return cls.parse(str(path), text)

    @classmethod
    def parse(cls, name: str, text: str) -> Document:
        """Parse the text of a file called ``name``."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise BadInput(f"{name}{place}: malformed YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"{name}: malformed YAML: {reason}") from None
        if not isinstance(data, dict) or node is None:
            found = "nothing" if data is None else type(data).__name__
            raise BadInput(f"{name}: expected a mapping of keys to values, got {found}")
        lines: dict[At, int] = {}
        _mark_lines(name, node, (), lines, set())
        return cls(name, data, lines)

    def override(self, at: At, value: Any, option: str) -> None:
        """Replace the key at ``at`` by ``value``, which came from the command line ``option``."""
        section = self.data
        for key in at[:-1]:
            inner = section.setdefault(str(key), {})
            if inner is None:  # "options:" with nothing under it
                inner = section[str(key)] = {}
            if not isinstance(inner, dict):
                return  # validation is going to say what is wrong with it
            section = inner
        section[str(at[-1])] = value
        self.options[at] = option

    def place(self, at: At) -> str:
        """Return the words that name the key at ``at`` to a person."""
        if at in self.options:
            return self.options[at]
        depth = next((n for n in range(len(at), 0, -1) if at[:n] in self.lines), 0)
        line = f":{self.lines[at[:depth]]}" if depth else ""
        path = ".".join(str(part) for part in at)
        return f"{self.name}{line}: {path}" if path else f"{self.name}{line}"

    def error(self, at: At, expected: str) -> BadInput:
        """Return the error that says what was expected at a key."""
        return BadInput(f"{self.place(at)}: {expected}")

    def validate(self, model: type[M], data: Any, at: At = ()) -> M:
        """Return ``data``, the part of the document at ``at``, as a ``model``."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            inner = tuple(part for part in first["loc"] if part != "[key]")
            raise self.error((*at, *inner), _complaint(first, model)) from None


def _mark_lines(
    name: str, node: yaml.Node, at: At, lines: dict[At, int], seen: set[int]
) -> None:
    """Note the line of every key under ``node``; refuse double keys and keys no strings."""
    if id(node) in seen:  # an alias: its keys were checked where they stand
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*at, position)] = item.start_mark.line + 1
            _mark_lines(name, item, (*at, position), lines, seen)
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                got = getattr(key, "value", "")
                raise BadInput(f"{name}:{line}: expected a name as key, got {got!r} (quote it)")
            if key.value in names:
                raise BadInput(f"{name}:{line}: key {key.value!r} is given twice")
            names.add(key.value)
            lines[(*at, key.value)] = line
            _mark_lines(name, value, (*at, key.value), lines, seen)


EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
}


def _complaint(error: Any, model: type[BaseModel]) -> str:
    """Return what pydantic's error means to somebody who edits the file."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return f"unknown key; {suggestion(name, _keys(model, error['loc'][:-1]))}"
    if kind == "missing":
        return "missing; this key is required"
    if kind == "value_error":
        return str(context["error"])
    if kind in EXPECTED:
        plain = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        return f"expected {EXPECTED[kind].format(**plain)}, got {_shown(error['input'])}"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    """Return a few words for a value that was not expected, however large it is."""
    words = {list: "a list", dict: "a mapping", type(None): "nothing"}
    return words.get(type(value)) or reprlib.repr(value)


def _keys(model: type[BaseModel], at: At) -> list[str]:
    """Return the keys that ``model`` knows in its section at ``at``."""
    names = iter(part for part in at if isinstance(part, str))  # items of a list share one model
    for name in names:
        field = model.model_fields.get(name)
        found = _section(field.annotation) if field else None
        if found is None:
            return []
        model, is_mapping = found
        if is_mapping:
            next(names, None)            # a name that the file gave to this section
    return [field.alias or name for name, field in model.model_fields.items()]


def _section(annotation: Any) -> tuple[type[BaseModel], bool] | None:
    """Return the model that stands in a field, and whether it does so in a mapping of names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for inner in get_args(annotation):
        if (found := _section(inner)) is not None:
            return found[0], found[1] or get_origin(annotation) is dict
    return None
