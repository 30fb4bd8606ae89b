# The MUTANT(id) macro for Cython modules; ids are positions in the header's list of names, from 1.
cdef extern from "mutant.h" nogil:
    bint MUTANT(int id)
    void seatrial_arm(int id)
    const char* SEATRIAL_MUTANT_NAMES

cdef enum:
    ANSWER_BEFORE_COMMIT = 1
    VOTE_NOT_PERSISTED = 2
    READ_UNCONFIRMED = 3
    APPLY_TWICE = 4
    TRUNCATE_WITHOUT_CONFLICT = 5
