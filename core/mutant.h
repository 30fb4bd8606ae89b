/* Planted bugs. MUTANT(id) is the constant 0 unless the package was built with
 * SEATRIAL_MUTANTS=1: a normal build holds neither the bugs nor their names. */
#ifndef SEATRIAL_MUTANT_H
#define SEATRIAL_MUTANT_H

#ifndef SEATRIAL_MUTANTS
#define SEATRIAL_MUTANTS 0
#endif

#if SEATRIAL_MUTANTS
#define MUTANT(id) (seatrial_mutant == (id))
/* One per extension module; mutants.activate() sets each (see the `arm` list there). */
static int seatrial_mutant = 0;
static inline void seatrial_arm(int id) { seatrial_mutant = id; }
/* One a line; its number is its place, from 1: append new ones at the end. */
#define SEATRIAL_MUTANT_NAMES \
    "answer-before-commit," \
    "vote-not-persisted," \
    "read-unconfirmed," \
    "apply-twice," \
    "truncate-without-conflict," \
    "commit-old-term," \
    "leader-counts-itself," \
    "commit-beyond-verified," \
    "restart-commits-all," \
    "ack-before-durable," \
    "ack-unverified," \
    "match-from-heartbeat," \
    "match-from-refusal," \
    "stale-append-accepted," \
    "probe-never-repeated," \
    "vote-without-log-check," \
    "vote-twice," \
    "vote-before-durable," \
    "stale-votes-count," \
    "votes-counted-twice," \
    "term-not-persisted," \
    "conflict-not-truncated," \
    "previous-term-unchecked," \
    "old-write-counts," \
    "read-before-noop," \
    "read-old-round," \
    "read-from-follower," \
    "step-down-keeps-waiters," \
    "step-down-says-no," \
    "cached-answer-wrong," \
    "checksum-skipped," \
    "write-not-synced," \
    "torn-frame-accepted," \
    "truncation-forgotten," \
    "corruption-cut," \
    "recovered-not-synced," \
    "session-named-by-client," \
    "expiry-by-own-clock," \
    "token-repeats," \
    "snapshot-without-sessions," \
    "snapshot-reads-new-value," \
    "segment-freed-early," \
    "incomplete-snapshot-taken," \
    "chunk-at-wrong-offset," \
    "stale-frames-replayed," \
    "change-before-noop," \
    "changes-overlap," \
    "configuration-when-applied," \
    "cut-keeps-configuration," \
    "joint-by-new-half-only," \
    "learner-counts," \
    "lease-without-drift," \
    "lease-from-answer," \
    "read-joins-asked-ticket," \
    "removed-leader-stays," \
    "snapshot-chunks-mixed," \
    "snapshot-newer-keeps-place," \
    "snapshot-without-configuration," \
    "snapshot-keeps-conflict," \
    "snapshot-cuts-suffix," \
    "snapshot-loses-outgoing," \
    "snapshot-ahead-of-log," \
    "snapshot-acked-when-received," \
    "snapshot-without-log-time," \
    "snapshot-before-it-refused," \
    "transfer-keeps-lease," \
    "transfer-does-not-block," \
    "lease-on-wall-clock," \
    "learner-votes," \
    "joint-left-early," \
    "damaged-votes," \
    "damaged-trusted-early," \
    "damaged-match-kept," \
    "follower-read-unapplied"
#else
#define MUTANT(id) 0
static inline void seatrial_arm(int id) { (void)id; }
#define SEATRIAL_MUTANT_NAMES ""
#endif

#endif
