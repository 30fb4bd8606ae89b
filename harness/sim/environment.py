"""What a simulated cluster runs on: its network, disks, clocks and sizes, while nothing is broken.

The defaults are a calm network in one room. A seed draws its own (swarm.py), and a test file
may fix some: ``sim: {environment: {latency_ns: 2000000}}``. Everything is a whole number, so
that an environment means the same on every machine: times in ns, probabilities in parts per
million (ppm), sizes in bytes.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..errors import BadInput
from ..yamlfile import suggestion

US, MS, S = 1_000, 1_000_000, 1_000_000_000
PPM = 1_000_000
LEASE_DRIFT_PPM = 150_000       # the most that clocks may be off where leaders have leases
CRASH_POINTS = ("vote", "write", "answer", "lead", "append")

Ns = Annotated[int, Meta(ge=0, le=60 * S)]
Ppm = Annotated[int, Meta(ge=0, le=PPM)]
PointPpm = tuple[str, Ppm]


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated cluster's surroundings.

    Network, for every packet between any two: ``latency_ns`` and up to ``jitter_ns`` more
    (uniform); with ``tail_ppm`` another ``tail_ns``. On a connection loss shows as the delay of
    a retransmission, as TCP does it. With ``frames`` nodes talk in datagrams: ``loss_ppm``,
    ``duplicate_ppm`` and ``reorder_ppm`` then really lose, double and overtake their frames.
    ``reset_ppm``: a packet breaks its connection. ``bytes_per_s``: of each link, 0 for no limit.

    Disks: a sync takes ``sync_ns`` and up to ``sync_jitter_ns`` more; with ``sync_tail_ppm``
    another ``sync_tail_ns``. ``segment_bytes``: the log's files. ``snapshot_bytes``: of
    log, until the next snapshot; ``keep_bytes``: of log that is kept before one;
    ``chunk_bytes``: of a snapshot that go in one piece.

    Nodes: each clock runs fast or slow by up to ``drift_ppm``; one turn of a node's event loop
    takes ``iteration_ns``. ``max_batch_bytes`` and ``max_inflight_bytes``: what a leader sends a
    follower at a time, and without an answer. ``max_sessions``: of clients; over that number the
    one unused for the longest is forgotten, and each that was not used for ``session_ttl_ns``.
    ``op_timeout_ns``: how long a client waits for an answer, 0: as long as the test file says.
    ``leases``: leaders answer reads by lease; then no clock may be off by more than
    LEASE_DRIFT_PPM, or jump. ``any_node_ppm``: so many reads are asked of any node.

    ``crash_points``: at these moments (vote: one was given; write: a group write begins; answer:
    before a client gets one; lead: an election was won; append: entries arrived) a node loses
    power with this probability and is started again after ``crash_down_ns``.
    """

    latency_ns: Ns = 100 * US
    jitter_ns: Ns = 50 * US
    tail_ppm: Ppm = 0
    tail_ns: Ns = 0
    frames: bool = False
    loss_ppm: Ppm = 0
    duplicate_ppm: Ppm = 0
    reorder_ppm: Ppm = 0
    reset_ppm: Ppm = 0
    bytes_per_s: Annotated[int, Meta(ge=0)] = 0
    sync_ns: Ns = 300 * US
    sync_jitter_ns: Ns = 200 * US
    sync_tail_ppm: Ppm = 0
    sync_tail_ns: Ns = 0
    segment_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 256 << 10
    snapshot_bytes: Annotated[int, Meta(ge=1, le=1 << 40)] = 64 << 20
    keep_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 16 << 20
    chunk_bytes: Annotated[int, Meta(ge=64, le=1 << 16)] = 64 << 10
    drift_ppm: Annotated[int, Meta(ge=0, le=500_000)] = 0
    iteration_ns: Ns = 0
    max_batch_bytes: Annotated[int, Meta(ge=1, le=16 << 20)] = 256 << 10
    max_inflight_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 4 << 20
    op_timeout_ns: Ns = 0
    max_sessions: Annotated[int, Meta(ge=1, le=1 << 30)] = 100_000
    session_ttl_ns: Annotated[int, Meta(ge=0, le=24 * 3600 * S)] = 3_600_000 * MS
    leases: bool = False
    any_node_ppm: Ppm = 0
    crash_points: tuple[PointPpm, ...] = ()
    crash_down_ns: Ns = 500 * MS

    def __post_init__(self) -> None:
        for point, _ in self.crash_points:
            if point not in CRASH_POINTS:
                raise ValueError(f"unknown point {point!r}; "
                                 f"{suggestion(point, CRASH_POINTS)}")
        if self.leases and self.drift_ppm > LEASE_DRIFT_PPM:
            raise ValueError(f"with leases no clock may be off by more than {LEASE_DRIFT_PPM} "
                             f"ppm, got {self.drift_ppm}")

    def changed(self, changes: Mapping[str, Any]) -> Environment:
        """Return this environment with other values for these fields, all of them checked."""
        return environment({**msgspec.structs.asdict(self), **changes})


FIELDS = Environment.__struct_fields__


def environment(fields: Mapping[str, Any]) -> Environment:
    """Make an environment from what a file says; BadInput names the field that is wrong."""
    for name in fields:
        if name not in FIELDS:
            raise BadInput(f"unknown key {name!r}; {suggestion(name, FIELDS)}")
    for name, value in fields.items():
        try:
            msgspec.convert({name: value}, Environment)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at `")[0]
            raise BadInput(f"{name}: {reason[:1].lower()}{reason[1:]}") from None
    return msgspec.convert(dict(fields), Environment)
