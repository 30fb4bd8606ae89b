from libc.stdint cimport uint32_t

from seatrial.harness.sim.exhaustive.cluster cimport Cluster
from seatrial.harness.sim.exhaustive.member cimport Member

cdef class Live:
    cdef Cluster space
    cdef list members
    cdef list queues            # numbers of messages; of each place in a state
    cdef list groups            # ClusterInvariants of each domain
