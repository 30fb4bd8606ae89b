"""A test with a schedule as a file for people: a remark on top, then a line for each thing.

What is the default is left out, so that what is there matters.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from ..testfile import Spec

FIRST = ("name", "system", "topology", "workload", "clients")
LAST = ("seed", "schedule")


def as_file(spec: Spec, remarks: Iterable[str] = ()) -> str:
    """Return a test file that says what ``spec`` says."""
    data = plain(spec)
    middle = [key for key in data if key not in (*FIRST, *LAST)]
    lines = [f"# {remark}".rstrip() for remark in remarks]
    lines += [""] if lines else []
    for key in (*FIRST, *middle, "seed"):
        if key in data:
            lines.append(f"{key}: {flow(data[key])}")
    plan = data.get("schedule") or {}
    lines.append("schedule:" if plan else "schedule: {}")
    for part in plan:
        lines += [f"  {part}:", *(f"    - {flow(item)}" for item in plan[part])]
    return "\n".join(lines) + "\n"


def plain(spec: Spec) -> dict[str, Any]:
    """Return a test as plain values, without what is the default."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if spec.schedule is not None:
        data["schedule"] = {name: items for name, items in data["schedule"].items() if items}
        data["schedule"].get("operations", []).sort(key=lambda operation: operation["at"])
        data["schedule"].get("faults", []).sort(key=lambda fault: fault["at"])
    return data


def flow(value: Any) -> str:
    """Return a value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1 << 30, sort_keys=False,
                          allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
