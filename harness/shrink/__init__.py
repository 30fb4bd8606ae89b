"""Shrinking: from a run that failed to the few operations and faults that it takes.

``trial`` says what a run is judged by, ``cuts`` make smaller tests of a test, ``ddmin`` is delta
debugging, ``search`` puts them together.
"""
from .search import NotReproduced, Shrinker, Shrunk, Size
from .trial import Failure, Kind, Runner, Trial, failures

__all__ = ["Failure", "Kind", "NotReproduced", "Runner", "Shrinker", "Shrunk", "Size", "Trial",
           "failures"]
