"""Random draws that a seed decides: splitmix64, one independent stream per component.

Python's ``random``, ``hash`` and set order are never used where a run must be repeatable.
Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix64(z: int) -> int:
    """Scramble 64 bits (the output function of splitmix64)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Rng:
    """A stream of draws. ``split(name)`` derives an independent stream from seed and name."""

    __slots__ = ("seed", "state")

    def __init__(self, seed: int) -> None:
        self.seed = seed & MASK
        self.state = self.seed

    def split(self, name: str) -> Rng:
        """Return the stream called ``name``; the same seed and name give the same stream."""
        h = self.seed
        for byte in name.encode():
            h = mix64((h ^ byte) + GAMMA & MASK)
        return Rng(h)

    def next64(self) -> int:
        """Return 64 random bits."""
        self.state = (self.state + GAMMA) & MASK
        return mix64(self.state)

    def below(self, n: int) -> int:
        """Return an int in [0, n), without bias worth measuring for n < 2**32."""
        if n <= 0:
            raise ValueError(f"below(n) needs n > 0, got {n}")
        return (self.next64() * n) >> 64

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * ((self.next64() >> 11) * 2.0**-53)

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items``."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return ``items`` in random order (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out
