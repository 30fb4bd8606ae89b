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
    "follower-read-unapplied," \
    "child-not-waited-for," \
    "domain-majority-not-waited-for," \
    "grandchild-not-waited-for," \
    "link-ack-by-rindex," \
    "ack-before-adoption," \
    "exclusion-acts-on-older," \
    "inclusion-acts-late," \
    "ack-rests-on-later-exclusion," \
    "any-k-counts-excluded," \
    "catching-up-gates," \
    "degrades-silently," \
    "adopted-term-volatile," \
    "stale-parent-truncates," \
    "adopted-at-once," \
    "tail-cut-at-parents-end," \
    "serves-heard-term," \
    "mark-by-rindex," \
    "mark-of-later-leader," \
    "apply-before-root-commit," \
    "truncates-to-mark," \
    "link-previous-unchecked," \
    "child-assigns," \
    "lease-beyond-quorum," \
    "lease-beyond-own," \
    "lease-before-inclusion," \
    "lease-taken-before-inclusion," \
    "link-lease-from-answer," \
    "lease-to-excluded," \
    "exclusion-without-waiting," \
    "exclusion-forgets-earlier-leader," \
    "exclusion-waits-before-proposing," \
    "only-exclusion-waits," \
    "root-reads-unconfirmed-writes," \
    "root-read-before-elected-end," \
    "domain-read-of-applied," \
    "domain-read-unconfirmed," \
    "domain-read-old-clock," \
    "domain-read-without-lease," \
    "domain-read-joins-asked," \
    "token-ignored," \
    "age-from-arrival," \
    "readmit-before-caught-up," \
    "lag-by-heartbeat," \
    "snapshot-without-tree," \
    "confirmers-from-tree," \
    "ack-of-earlier-term"
#else
#define MUTANT(id) 0
static inline void seatrial_arm(int id) { (void)id; }
#define SEATRIAL_MUTANT_NAMES ""
#endif

#endif
