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
#define SEATRIAL_MUTANT_NAMES \
    "answer-before-commit,vote-not-persisted,read-unconfirmed,apply-twice,truncate-without-conflict"
#else
#define MUTANT(id) 0
static inline void seatrial_arm(int id) { (void)id; }
#define SEATRIAL_MUTANT_NAMES ""
#endif

#endif
