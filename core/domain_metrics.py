"""Metrics of the tree of domains: this node's place in it, and each of its links."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

STATES = ("detached", "attaching", "snapshot", "catching-up", "streaming", "excluded")
NODE = (
    ("root_commit_rindex", "committed", "Newest entry that the root is known to have committed."),
    ("applied_rindex", "applied_rindex", "Newest entry of the root that was applied."),
    ("mirror_end_rindex", "mirror_end", "Newest entry of the root in this node's log."),
    ("domain_lease_nanoseconds", "lease_left_ns", "What is left of the lease for local reads."),
    ("domain_age_nanoseconds", "age_ns", "Age of what this domain knows to be committed."),
)
UPLINK = (
    ("uplink_parent_node", "node", "Node of the parent that this leader is linked to."),
    ("uplink_lag_entries", "lag_entries", "Entries that the parent had more when it last spoke."),
    ("uplink_told_nanoseconds", "told_ns", "How long ago the parent said what it has."),
)
DOWNLINK = (
    ("downlink_acked_rindex", "acked", "Newest entry that a child has acknowledged."),
    ("downlink_lag_entries", "lag_entries", "Entries that a child lacks, by its last word."),
    ("downlink_lag_bytes", "lag_bytes", "Bytes of this leader's log that a child lacks."),
    ("downlink_lag_nanoseconds", "lag_ns", "For how long a child lacks them."),
    ("downlink_told_nanoseconds", "told_ns", "How long ago a child said anything."),
    ("downlink_lease_nanoseconds", "lease_left_ns", "What is left of a child's lease."),
    ("downlink_cannot_readmit", "cannot_readmit", "1: it is excluded, and does not catch up."),
    ("downlink_held", "held", "1: an operator excluded it."),
)


def families(found: Mapping[str, Any]) -> Iterable[Metric]:
    """Yield every family. ``found``: status()["domain"]; links are those of its leader only."""
    domain = str(found["id"])
    for name, key, text in NODE:
        yield gauge(name, text, ["domain"],
                    [([domain], found[key])] if found[key] is not None else [])
    uplink = {} if found["root"] else found["uplink"]
    yield gauge("uplink_state", "1 for the state of the link to the parent.", ["state"],
                states([], uplink.get("state")))
    for name, key, text in UPLINK:
        yield gauge(name, text, [], [([], uplink[key])] if uplink.get(key) is not None else [])
    children = found["children"].items()
    yield gauge("downlink_state", "1 for the state of the link to a child.", ["child", "state"],
                [each for id, child in children for each in states([str(id)], child["state"])])
    for name, key, text in DOWNLINK:
        yield gauge(name, text, ["child"],
                    [([str(id)], child[key]) for id, child in children
                     if child.get(key) is not None])


def states(labels: list[str], present: str | None) -> list[tuple[list[str], float]]:
    """Return one value for each state; none where there is no link."""
    return [([*labels, state], float(state == present)) for state in STATES if present is not None]


def gauge(
    name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]
) -> Metric:
    """Fill a family."""
    family = GaugeMetricFamily(f"seatrial_{name}", text, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family
