"""The planted bugs of the node: what each breaks, and who made that mistake before.

None is invented: each is a rule that the literature warns of, or a bug that a real system had.
The bugs themselves are in ``core``, a line or two each under ``MUTANT(...)``, compiled in only
with SEATRIAL_MUTANTS=1; core/mutant.h lists the same names. A checker that never found anything
has proved nothing: ``seatrial mutants`` (detection.py) shows which of these are found, by what.

Sources: "paper" is Ongaro and Ousterhout, "In search of an understandable consensus algorithm"
(extended version), "thesis" is Ongaro's (2014); ``owner/repository#n`` is an issue or a pull
request on GitHub.
"""
from __future__ import annotations

from typing import NamedTuple

PARTS = ("wal", "log", "election", "replication", "commit", "sessions", "reads", "codec")
PROPERTIES = (
    # what the simulated world checks after every step (core/invariants.pyx)
    "election safety", "election by majority", "one vote a term", "terms only grow", "log matching",
    "leader append-only", "state machine safety", "leader completeness", "commit by counting",
    "commit only grows", "durability",
    # what the node checks itself, and stops at
    "assertion", "recovery",
    # what is judged when a run is over
    "linearizable", "liveness", "livelock",
)


class Mutant(NamedTuple):
    """One planted bug. breaks: the properties of which it is expected to break one."""

    name: str
    part: str
    what: str
    source: str
    breaks: tuple[str, ...]


MUTANTS = (
    # write-ahead log
    Mutant("write-not-synced", "wal",
           "a group write counts as durable without a sync",
           "bakwc/PySyncObj#197",
           ("durability", "terms only grow", "one vote a term")),
    Mutant("torn-frame-accepted", "wal",
           "a group write that a power loss tore is taken for whole",
           "Pillai and others, All file systems are not created equal (OSDI 2014)",
           ("recovery", "durability", "terms only grow", "log matching")),
    Mutant("truncation-forgotten", "wal",
           "a restart brings back entries that were replaced",
           "etcd-io/etcd#22442, qdrant/qdrant#1329",
           ("log matching", "durability", "leader completeness")),
    Mutant("corruption-cut", "wal",
           "damage in the middle of the log is cut off with all that follows, like a torn write",
           "Alagappan and others, Protocol-aware recovery (FAST 2018)",
           ("durability", "terms only grow", "one vote a term", "leader completeness")),
    Mutant("recovered-not-synced", "wal",
           "what a restarted node reads back counts as durable, though it was never synced",
           "Rebello and others, Can applications recover from fsync failures? (ATC 2020)",
           ("durability", "one vote a term", "terms only grow")),
    # commit
    Mutant("answer-before-commit", "commit",
           "the leader answers a write before a majority has it",
           "paper, 5.3; MongoDB's and Kafka's defaults of 2013 (Jepsen)",
           ("linearizable",)),
    Mutant("commit-old-term", "commit",
           "an entry of an earlier term is committed by counting who has it",
           "paper, 5.4.2 and figure 8; logcabin/logcabin#44, async-raft/async-raft#108",
           ("commit by counting", "leader completeness", "state machine safety")),
    Mutant("leader-counts-itself", "commit",
           "the leader counts itself for entries that its own disk does not hold yet",
           "thesis, 10.2.1; etcd-io/etcd#14370",
           ("durability",)),
    Mutant("commit-beyond-verified", "commit",
           "a follower commits up to its log's end, not up to what it compared with the leader",
           "paper, figure 2 (AppendEntries 5); atomix/copycat#265, scylladb/scylladb#9965, "
           "microsoft/CCF#8172",
           ("state machine safety", "assertion")),
    Mutant("restart-commits-all", "commit",
           "a node that starts takes all it finds on its disk for committed",
           "paper, figure 2 (commitIndex is volatile); goraft/raft#69",
           ("state machine safety", "durability", "assertion")),
    # replication
    Mutant("ack-before-durable", "replication",
           "a follower acknowledges entries that its disk does not hold yet",
           "paper, figure 2 (stable storage before responding); NodeDB-Lab/nodedb#161",
           ("durability",)),
    Mutant("ack-unverified", "replication",
           "a follower acknowledges its log's end, which this leader has not compared",
           "paper, 5.3; zhebrak/raftos#25",
           ("durability", "state machine safety", "assertion")),
    Mutant("match-from-heartbeat", "replication",
           "the answer to a heartbeat acknowledges entries that are not on disk yet",
           "paper, figure 2 (stable storage before responding); the second door of "
           "ack-before-durable",
           ("durability",)),
    Mutant("match-from-refusal", "replication",
           "the leader takes the hint in a refusal for an acknowledgement",
           "microsoft/CCF#5325",
           ("durability", "state machine safety")),
    Mutant("stale-append-accepted", "replication",
           "a follower takes entries from the leader of an earlier term",
           "paper, figure 2 (AppendEntries 1); akiradeveloper/sorock#485",
           ("state machine safety", "leader completeness", "log matching", "assertion",
            "leader append-only")),
    Mutant("probe-never-repeated", "replication",
           "an entry that got lost while the leader looks for where logs part is not sent again",
           "dgraph-io/dgraph#2707",
           ("liveness",)),
    # election
    Mutant("vote-not-persisted", "election",
           "a vote is given and never written",
           "paper, figure 2 (votedFor is persistent); bakwc/PySyncObj#202, "
           "datatechnology/cornerstone#65",
           ("one vote a term", "election safety")),
    Mutant("vote-before-durable", "election",
           "a vote is given before it is on disk",
           "paper, figure 2 (stable storage before responding); braft's default "
           "(raft_sync_meta=false)",
           ("one vote a term", "election safety")),
    Mutant("vote-twice", "election",
           "a node votes for whoever asks, however often in a term",
           "paper, 5.2; camunda/camunda#5356",
           ("one vote a term", "election safety")),
    Mutant("vote-without-log-check", "election",
           "a node votes for a candidate whose log lacks entries that its own has",
           "paper, 5.4.1; ktoso/akka-raft#30, jgroups-extras/jgroups-raft#14",
           ("leader completeness", "state machine safety")),
    Mutant("stale-votes-count", "election",
           "a vote that was given in an earlier term counts in this one",
           "paper, 5.1; andreev-io/little-raft#44",
           ("election by majority", "election safety")),
    Mutant("votes-counted-twice", "election",
           "a vote that arrives twice counts twice",
           "paper, 5.2; xnnyygn/xraft#27, ktoso/akka-raft#45",
           ("election by majority", "election safety")),
    Mutant("term-not-persisted", "election",
           "the newest entry's term is written for the node's own",
           "paper, figure 2 (currentTerm is persistent); camunda/camunda#14518",
           ("one vote a term", "election safety", "terms only grow")),
    # log
    Mutant("truncate-without-conflict", "log",
           "a follower cuts its log at any older message, not only at a conflict",
           "paper, figure 2 (AppendEntries 3); databendlabs/databend#3914, "
           "vesoft-inc/nebula#2483",
           ("state machine safety", "durability", "assertion")),
    Mutant("conflict-not-truncated", "log",
           "a follower keeps its own entry where the leader's differs",
           "paper, figure 2 (AppendEntries 3); camunda/camunda#5360",
           ("log matching", "state machine safety", "durability")),
    Mutant("previous-term-unchecked", "log",
           "a follower appends after an entry of whatever term",
           "paper, figure 2 (AppendEntries 2); ktoso/akka-raft#59",
           ("log matching", "state machine safety", "durability")),
    Mutant("old-write-counts", "log",
           "when a write ends, entries count as durable that replaced those it wrote",
           "etcd-io/etcd#1690",
           ("durability",)),
    # reads
    Mutant("read-unconfirmed", "reads",
           "a leader answers reads without asking whether it still leads, and never resigns",
           "thesis, 6.4; etcd 0.4 and Consul 0.2 (Jepsen, 2014)",
           ("linearizable",)),
    Mutant("read-before-noop", "reads",
           "a new leader answers reads before it knows what is committed",
           "thesis, 6.4 (step 1); etcd-io/etcd#7331, RedisLabs/redisraft#22",
           ("linearizable",)),
    Mutant("read-old-round", "reads",
           "a read is answered by a confirmation of leadership that was over before it came",
           "thesis, 6.4 (step 3); etcd-io/etcd#20418",
           ("linearizable",)),
    Mutant("read-from-follower", "reads",
           "a follower answers reads from what it has applied",
           "paper, 8; etcd 0.4's default (Jepsen, 2014)",
           ("linearizable",)),
    # sessions
    Mutant("apply-twice", "sessions",
           "a write that was repeated is executed again",
           "paper, 8; ktoso/akka-raft#64, etcd-io/etcd#18424",
           ("linearizable",)),
    Mutant("cached-answer-wrong", "sessions",
           "a repeated write is told ok, whatever the answer was",
           "thesis, 6.3 (the answer is kept with the serial number)",
           ("linearizable",)),
    Mutant("step-down-keeps-waiters", "sessions",
           "a client is answered when its index is committed, whatever entry is there then",
           "the lab guide of MIT 6.824 (2016)",
           ("linearizable",)),
    Mutant("step-down-says-no", "sessions",
           "a leader that is deposed tells its clients that their writes did not happen",
           "vesoft-inc/nebula#3880",
           ("linearizable",)),
    Mutant("expiry-by-own-clock", "sessions",
           "each member forgets unused sessions when its own clock says so",
           "thesis, 6.3 (servers must agree on when to expire a session)",
           ("assertion", "linearizable")),
    # codec
    Mutant("checksum-skipped", "codec",
           "what members send each other is taken as it arrives",
           "Amazon S3's outage of 2008-07-20",
           ("assertion", "log matching", "state machine safety", "linearizable", "liveness",
            "durability", "election safety")),
)

# What the swarm's workload can't show: tests/core/test_kv_planted.py plants those of the state
# machine and finds them, tests/core/test_planted_bugs.py those of the log.
ELSEWHERE = (
    Mutant("segment-freed-early", "wal",
           "the log's beginning goes before the snapshot that replaces it is whole",
           "camunda/camunda#6894",
           ("recovery", "durability")),
    Mutant("incomplete-snapshot-taken", "wal",
           "a snapshot that a crash cut short is loaded",
           "JDRaftKeeper/RaftKeeper#240",
           ("recovery", "durability")),
    Mutant("chunk-at-wrong-offset", "wal",
           "a snapshot's chunk is taken wherever it belongs in the snapshot",
           "camunda/camunda#4346",
           ("recovery", "durability")),
    Mutant("stale-frames-replayed", "wal",
           "what a recycled segment holds of its earlier life is replayed",
           "cockroachdb/pebble#567, facebook/rocksdb#881",
           ("recovery", "durability")),
    Mutant("session-named-by-client", "sessions",
           "a session's id is its client's choice, so a late copy of the opening brings it back",
           "thesis, 6.3 (a session's id is the index of the entry that opened it)",
           ("linearizable",)),
    Mutant("token-repeats", "sessions",
           "a lock that was released is acquired under the same token again",
           "Burrows, The Chubby lock service (2006), 2.4: sequencers; hazelcast/hazelcast (Jepsen, "
           "2017): locks without fencing tokens",
           ("linearizable",)),
    Mutant("snapshot-without-sessions", "sessions",
           "a snapshot leaves the sessions out, so a retry is executed again where it is loaded",
           "thesis, 6.3 (the session's state is part of the snapshot)",
           ("assertion", "linearizable")),
    Mutant("snapshot-reads-new-value", "sessions",
           "a snapshot has keys as they are when it comes to them, not as they were at its index",
           "thesis, 5.1 (a snapshot is of one point of the log; copy on write)",
           ("assertion", "linearizable")),
)
