"""``/metrics`` in Prometheus' text format, collected when asked for.

Nothing is counted for metrics' sake on the way of an operation: at a scrape the machine's
status and the log's own counters are read once. The HTTP spoken here is the little that a
scraper needs: one GET, one answer, close; bounded in size, time and number.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from seatrial.core.domain_metrics import families
from seatrial.core.wal import WalStats

MAX_REQUEST_BYTES = 8192
MAX_SCRAPERS = 16
TIMEOUT_S = 5.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROLES = ("follower", "candidate", "leader")


class Sample(NamedTuple):
    """All that is measured, at one moment."""

    status: dict[str, Any]          # Replica.status()
    wal: WalStats
    connections: dict[str, int]     # role -> open connections
    refusals: dict[str, int]        # reason -> handshakes refused
    log_lines_lost: int


GAUGES = (
    ("term", "term", "Term of the consensus."),
    ("leader", "leader", "Node believed to lead; 0 when none is known."),
    ("commit_index", "commit", "Newest entry known to be committed."),
    ("applied_index", "applied", "Newest entry applied to the state machine."),
    ("last_index", "last_index", "Newest entry in the log."),
    ("durable_index", "durable_index", "Newest entry on this node's disk."),
    ("sessions", "sessions", "Client sessions kept."),
    ("config_index", "config_index", "Entry that holds the configuration in use; 0: the file's."),
    ("voters", "voters", "Members with a vote."),
    ("learners", "learners", "Members without a vote."),
    ("joint", "joint", "1 while old and new voters decide together."),
    ("not_a_member", "outside", "1 when this node is known to be no member."),
    ("first_index", "first_index", "Oldest entry that the log still holds."),
    ("snapshot_index", "snapshot_index", "Entry that the newest snapshot ends with; 0: none."),
    ("snapshot_bytes", "snapshot_bytes", "Size of that snapshot."),
    ("snapshot_age_seconds", "snapshot_age_s", "Since when this process has it."),
    ("snapshot_written_bytes", "snapshot_written", "Of the one being written; 0: none is."),
    ("snapshot_received_bytes", "snapshot_received", "Of the one that a leader sends; 0: none."),
    ("transfer_to", "transfer_to", "Node that is to lead instead of this one; 0: none."),
    ("lease", "lease", "1 while this leader may answer reads without asking."),
)
COUNTERS = (
    ("elections", "elections", "Elections this node stood for."),
    ("log_conflicts", "conflicts", "Times a leader replaced entries of this node's log."),
    ("snapshots_made", "snapshots_made", "Snapshots of its own that this node completed."),
    ("snapshots_installed", "snapshots_installed", "Snapshots of a leader that it went on from."),
    ("snapshot_chunks_sent", "snapshot_chunks_sent", "Chunks of snapshots sent to members."),
    ("snapshot_transfers_resumed", "snapshot_transfers_resumed",
     "Times a member had more of a snapshot than was sent since a break."),
    ("reads", "served_reads", "Reads answered."),
    ("writes", "served_writes", "Writes answered."),
    ("duplicates", "duplicates", "Writes answered from the session's memory."),
    ("requests_refused", "refused", "Requests refused: not the leader, busy, too large."),
)


class NodeCollector(Collector):
    """Turns a Sample into Prometheus' families."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        sample = self._sample()
        for name, key, text in GAUGES:
            yield GaugeMetricFamily(f"seatrial_{name}", text, sample.status[key])
        for name, key, text in COUNTERS:
            yield CounterMetricFamily(f"seatrial_{name}", text, sample.status[key])
        yield labelled(
            GaugeMetricFamily("seatrial_role", "1 for the node's present role.", labels=["role"]),
            {role: int(role == sample.status["role"]) for role in ROLES})
        yield labelled(
            GaugeMetricFamily("seatrial_connections", "Open connections.", labels=["role"]),
            sample.connections)
        yield labelled(
            GaugeMetricFamily(
                "seatrial_member_match_index", "Newest entry known to be on a member's disk; of a"
                " leader.", labels=["member"]),
            {str(peer): seen["match_index"] for peer, seen in sample.status["peers"].items()
             if sample.status["role"] == "leader"})
        if sample.status["domain"] is not None:
            yield from families(sample.status["domain"])
        yield labelled(
            CounterMetricFamily(
                "seatrial_handshakes_refused", "Handshakes refused.", labels=["reason"]),
            sample.refusals)
        yield CounterMetricFamily(
            "seatrial_log_lines_lost", "Log lines that could not be written.",
            sample.log_lines_lost)
        yield histogram(
            "seatrial_wal_sync_seconds", "Time of a group write with its sync.",
            sample.wal.sync_us_log2, 1e-6, sample.wal.sync_ns * 1e-9)
        yield histogram(
            "seatrial_wal_group_bytes", "Bytes of records in a group write.",
            sample.wal.group_bytes_log2, 1.0, sample.wal.bytes)


def labelled(family: Any, values: dict[str, int]) -> Metric:
    """Fill a family with one label."""
    for label, value in values.items():
        family.add_metric([label], value)
    return cast(Metric, family)


def histogram(
    name: str, text: str, buckets: tuple[int, ...], unit: float, total: float
) -> Metric:
    """Return cumulative buckets; bucket i counts values below ``unit * 2**i``."""
    seen, cumulative = 0, []
    for i, count in enumerate(buckets[:-1]):
        seen += count
        cumulative.append((repr(unit * 2**i), seen))
    cumulative.append(("+Inf", seen + buckets[-1]))
    return HistogramMetricFamily(name, text, buckets=cumulative, sum_value=total)


class Exporter:
    """Serves the metrics of one node."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(sample))
        self._open = 0

    def page(self) -> bytes:
        """Return the page as it is now."""
        return generate_latest(self._registry)

    def protocol(self) -> asyncio.Protocol:
        """Return the handler of one connection."""
        return Scrape(self)

    def enter(self) -> bool:
        """Count a scraper in, unless there are too many."""
        if self._open >= MAX_SCRAPERS:
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """Count a scraper out."""
        self._open -= 1


class Scrape(asyncio.Protocol):
    """One HTTP connection: read the head of a request, answer, close."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._input = bytearray()
        self._entered = False
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for long."""
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(TIMEOUT_S, self._transport.abort)
        self._entered = self._exporter.enter()
        if not self._entered:
            self._answer("503 Service Unavailable", b"too many scrapers\n")

    def data_received(self, data: bytes) -> None:
        """Answer when the head is whole."""
        self._input += data
        head, end, _ = self._input.partition(b"\r\n\r\n")
        if not end:
            if len(self._input) > MAX_REQUEST_BYTES:
                self._answer("431 Request Header Fields Too Large", b"")
            return
        method, _, rest = bytes(head).partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            self._answer("405 Method Not Allowed", b"only GET\n")
        elif path != b"/metrics":
            self._answer("404 Not Found", b"only /metrics\n")
        else:
            self._answer("200 OK", self._exporter.page())

    def _answer(self, status: str, body: bytes) -> None:
        head = (f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
        self._transport.write(head.encode() + body)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count out."""
        self._deadline.cancel()
        if self._entered:
            self._exporter.leave()
