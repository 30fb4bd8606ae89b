"""The write-ahead log: one group write at a time, durable before anybody hears of it.

``Wal.open`` locks the directory, reads the log back (recovery.pyx), cuts a torn tail and
starts two threads. ``submit`` takes a group write: log records and hard state (term, vote)
as one frame. It is written and synced at once by the caller when that is cheaper (nothing
else to do), or by the *writer* thread, which does not hold the GIL and tells of the end by
an eventfd. At most one group write is in flight: that is what makes a torn tail
distinguishable from corruption, and the sync in flight is what gathers the next batch.

The *preparer* thread keeps one empty segment ahead: a sync into blocks that are already
allocated and zero-filled costs about half of one that must also extend the file. The order
at the end of a segment: the next one is durable under its final name, then the seal goes
into the old one and is synced, then the frame into the new one.

A failed write or sync ends the process at once, from whatever thread it happens in, with one
line that names the file. It is never tried again: after a failed fsync the kernel may have
dropped the very pages that were not written, and a second fsync would then succeed.

Layers: noexcept nogil kernels that write and sync; the class that owns descriptors and
checks preconditions; Python methods. ``writev`` is never partial for long: the kernel loop
goes on where it stopped.
"""
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset, strerror
from posix.fcntl cimport O_CLOEXEC, O_RDWR
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport off_t
from posix.unistd cimport _exit, fdatasync, read, write

from seatrial.core.segment cimport (
    FRAME_HEADER,
    FRAME_MAGIC,
    SEAL_MAGIC,
    SEGMENT_HEADER,
    FrameHeader,
    frame_crc,
    padded,
)

import fcntl
import os
import threading
from pathlib import Path
from typing import NamedTuple

from seatrial.core.errors import DirectoryInUse, InvariantViolation, MissingSegment, NodeError
from seatrial.core.recovery import recover, segment_path
from seatrial.core.segment import decode_segment_header, encode_segment_header

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t pwritev(int fd, const iovec* iov, int iovcnt, off_t offset)

cdef enum:
    BUCKETS = 32
    NAME_BYTES = 4096
    FATAL_EXIT = 255

DEFAULT_SEGMENT_BYTES = 16 << 20
MIN_SEGMENT_BYTES = 4096
ZEROS = bytes(1 << 20)
PREPARING = "next.tmp"


class WalStats(NamedTuple):
    """Counters since the start; bucket i of a histogram counts values v with 2**i > v."""

    syncs: int
    bytes: int
    sync_ns: int
    sync_us_log2: tuple
    group_bytes_log2: tuple


cdef uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef int bucket_of(uint64_t value) noexcept nogil:
    """Return the number of bits of ``value``, at most the last bucket."""
    cdef int bits = 0
    while value and bits < BUCKETS - 1:
        value >>= 1
        bits += 1
    return bits


cdef void die(const char* what, const char* path, int error) noexcept nogil:
    """End the process now: nothing may be promised any more, nothing may be retried."""
    cdef char[NAME_BYTES + 512] line
    cdef int n = snprintf(line, sizeof(line), "seatrial: fatal: can't %s %s: %s\n",
                          what, path, strerror(error))
    if write(2, line, min(n, <int>sizeof(line) - 1)) < 0:
        pass                        # standard error is gone too; the exit code still tells
    _exit(FATAL_EXIT)


cdef void write_all(
    int fd, iovec* parts, int count, uint64_t offset, const char* path
) noexcept nogil:
    cdef ssize_t n
    cdef size_t done
    while count:
        n = pwritev(fd, parts, count, offset)
        if n < 0:
            if errno == EINTR:
                continue
            die("write", path, errno)
        offset += n
        done = n
        while count and done >= parts.iov_len:
            done -= parts.iov_len
            parts += 1
            count -= 1
        if count:
            parts.iov_base = <char*>parts.iov_base + done
            parts.iov_len -= done


cdef void sync_or_die(int fd, const char* path) noexcept nogil:
    if fdatasync(fd) != 0:
        die("sync", path, errno)


cdef uint64_t wait_on(int eventfd) noexcept nogil:
    """Block until the eventfd is signalled."""
    cdef uint64_t value = 0
    while read(eventfd, &value, 8) < 0:
        if errno != EINTR:
            die("read", "an eventfd", errno)
    return value


cdef void signal(int eventfd) noexcept nogil:
    cdef uint64_t one = 1
    while write(eventfd, &one, 8) < 0:
        if errno != EINTR:
            die("write", "an eventfd", errno)


cdef struct OpenSegment:
    int fd
    uint64_t sequence
    uint64_t salt
    uint64_t size
    uint64_t offset                 # where the next frame goes
    char[NAME_BYTES] path


cdef struct GroupWrite:
    uint64_t seq
    FrameHeader header
    const uint8_t* records


cdef class Wal:
    """The open log of one node; see the module's docstring."""

    cdef readonly object directory, recovered, repairs
    cdef readonly int done_fd       # an eventfd: readable when the writer finished a group
    cdef readonly uint64_t durable  # the newest group write that is
    cdef int wake_fd                # to the writer: a group is there, or stop
    cdef int want_fd                # to the preparer: make the next segment, or stop
    cdef int ready_fd               # from the preparer: ``next`` is filled in
    cdef int lock_fd
    cdef OpenSegment current, next
    cdef GroupWrite group
    cdef bytes held                 # keeps the records alive while the writer reads them
    cdef bint in_flight, stopping, closed
    cdef uint64_t syncs, written, sync_ns
    cdef uint64_t[BUCKETS] sync_buckets
    cdef uint64_t[BUCKETS] bytes_buckets
    cdef object threads
    cdef size_t segment_bytes

    def __cinit__(self):
        self.done_fd = self.wake_fd = self.want_fd = self.ready_fd = self.lock_fd = -1
        self.current.fd = self.next.fd = -1
        self.closed = True
        self.threads = []

    # -- writing: no GIL, no Python object ------------------------------------------------

    cdef void write_frame(self, FrameHeader* header, const uint8_t* records) noexcept nogil:
        """Write one frame at the end of the current segment and sync it."""
        cdef iovec[3] parts
        cdef uint64_t zeros = 0
        cdef size_t n = FRAME_HEADER + header.size
        header.salt = self.current.salt
        frame_crc(header, records, &header.crc)     # submit() has checked the structure
        parts[0].iov_base, parts[0].iov_len = header, FRAME_HEADER
        parts[1].iov_base, parts[1].iov_len = <void*>records, header.size
        parts[2].iov_base, parts[2].iov_len = &zeros, padded(n) - n
        write_all(self.current.fd, parts, 3, self.current.offset, self.current.path)
        sync_or_die(self.current.fd, self.current.path)
        self.current.offset += padded(n)
        self.written += padded(n)

    cdef bint fits(self, size_t size) noexcept nogil:
        """Return whether a frame fits, with room left for the seal."""
        return (self.current.offset + padded(FRAME_HEADER + size) + FRAME_HEADER
                <= self.current.size)

    cdef void next_segment(self) noexcept nogil:
        """Seal the current segment and go on in the prepared one, waiting for it if need be."""
        cdef FrameHeader seal = self.group.header
        wait_on(self.ready_fd)
        seal.magic, seal.size, seal.count = SEAL_MAGIC, 0, 0
        self.write_frame(&seal, NULL)
        close_fd(self.current.fd)
        self.current = self.next
        self.next.fd = -1
        signal(self.want_fd)

    cdef void write_group(self) noexcept nogil:
        cdef uint64_t start = monotonic_ns()
        cdef uint64_t took
        if not self.fits(self.group.header.size):
            self.next_segment()
        self.write_frame(&self.group.header, self.group.records)
        took = monotonic_ns() - start
        self.syncs += 1
        self.sync_ns += took
        self.sync_buckets[bucket_of(took / 1000)] += 1
        self.bytes_buckets[bucket_of(self.group.header.size)] += 1

    cdef void serve_writes(self) noexcept nogil:
        while True:
            wait_on(self.wake_fd)
            if self.stopping:
                return
            self.write_group()
            signal(self.done_fd)
