"""In how many ways the nodes of a small cluster could have been numbered without any difference."""
from itertools import permutations


cdef class Symmetry:
    """All numberings that map voters to voters and spares to spares; the first changes nothing."""

    def __cinit__(self, int nodes, int voters, bint used=True):
        cdef int i
        cdef uint32_t node
        self.count = 0
        for first in permutations(range(1, voters + 1)):
            for second in permutations(range(voters + 1, nodes + 1)):
                if self.count and not used:
                    continue
                for i in range(64):
                    self.names[self.count][i] = i
                for i, node in enumerate((*first, *second)):
                    self.names[self.count][i + 1] = node
                self.count += 1
