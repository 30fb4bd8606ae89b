"""The counts of all marks (marks.pxd), for whoever runs nodes and wants to know what they did."""
from libc.stdlib cimport calloc
from libc.string cimport memset

reached = <uint64_t*>calloc(MARKS, sizeof(uint64_t))
if reached is NULL:
    raise MemoryError("no memory for the marks")

# What no node may ever come by: there is no such step.
IMPOSSIBLE = frozenset(name.lower() for name in (
    "ROLE_FOLLOWER_TO_FOLLOWER", "ROLE_FOLLOWER_TO_LEADER", "ROLE_CANDIDATE_TO_CANDIDATE",
    "ROLE_LEADER_TO_CANDIDATE", "ROLE_LEADER_TO_LEADER", "ROLE_LEADER_TO_PRE_CANDIDATE",
    "ROLE_PRE_CANDIDATE_TO_LEADER", "STALE_PRE_VOTE", "STALE_PRE_VOTE_REPLY"))
NAMES = tuple(member.name.lower() for member in sorted(Mark))[:-1]


def clear() -> None:
    """Count from zero again."""
    memset(reached, 0, MARKS * sizeof(uint64_t))


def counts() -> dict:
    """Return how often each mark was come by, those that were."""
    cdef size_t i
    return {NAMES[i]: reached[i] for i in range(<size_t>MARKS) if reached[i]}
