from collections.abc import Callable
from typing import Any

from .history import Ints

INTEGER: int
OTHER: int

def split(values: list[Any], encode: Callable[[Any], bytes]) -> tuple[Ints, Ints, list[bytes]]: ...
