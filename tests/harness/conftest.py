"""One small lab for all tests of a module that only use hosts and leave them as they were."""
from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from seatrial.harness.hosts import LocalWorld


@pytest.fixture(scope="module")
def world() -> Iterator[LocalWorld]:
    """Three hosts, two client pools; already answering."""
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    made = LocalWorld.create(3, ("clients", "readers"))
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.destroy()
