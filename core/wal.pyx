"""The write-ahead log: one group write at a time, durable before anybody hears of it.

``Wal.open`` locks the directory, reads the log back (recovery.pyx), cuts a torn tail, makes
the rest as durable as a reader takes it to be, and starts two threads. ``submit`` takes a
group write: log records and hard state (term, vote) as one frame (group_write.pyx says where).
It is written and synced at once by the caller when that is cheaper (nothing else to do), or by
the *writer* thread, which does not hold the GIL and tells of the end by an eventfd. At most
one group write is in flight: that is what makes a torn tail distinguishable from corruption,
and the sync in flight is what gathers the next batch.

The *preparer* thread keeps one empty segment ahead: a sync into blocks that are already
allocated and zero-filled costs about half of one that must also extend the file. The order
at the end of a segment: the next one is durable under its final name, then the seal goes
into the old one and is synced, then the frame into the new one. The same thread takes segments
out of the log when a durable snapshot stands in their place (retention.pyx says which), and
makes the next ones out of them.

A failed write or sync ends the process at once, from whatever thread it happens in, with one
line that names the file. It is never tried again: after a failed fsync the kernel may have
dropped the very pages that were not written, and a second fsync would then succeed.

Layers: noexcept nogil kernels that write and sync; the class that owns descriptors and
checks preconditions; Python methods. ``writev`` is never partial for long: the kernel loop
goes on where it stopped.
"""
from libc.errno cimport EINTR, ENOSPC, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strerror
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport off_t
from posix.unistd cimport _exit, close, fdatasync, read, write

from seatrial.core.group_write cimport (
    MIN_SEGMENT,
    FrameWrite,
    GroupWrite,
    Place,
    fits,
    largest_group,
    plan_frame,
    set_group,
)
from seatrial.core.retention cimport Retention
from seatrial.core.segment cimport FRAME_HEADER, SEGMENT_HEADER

import os
import select
import threading
from pathlib import Path
from typing import NamedTuple

from seatrial.core.errors import CorruptSegment, InvariantViolation, MissingSegment
from seatrial.core.recovery import recover, segment_path
from seatrial.core.segment_files import (
    SPARES,
    clear_leftovers,
    free_segment,
    keep_spares,
    lock_directory,
    make_segment,
    open_segment,
    recycle_segment,
    repair_segment,
)

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
MIN_SEGMENT_BYTES = MIN_SEGMENT


class WalStats(NamedTuple):
    """Counters since the start; bucket i of a histogram counts values v with 2**i > v."""

    syncs: int
    bytes: int
    sync_ns: int
    sync_us_log2: tuple
    group_bytes_log2: tuple
    freed: int          # segments that the log no longer needed
    recycled: int       # of those, the ones that were made into new segments


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
        if n <= 0:
            if n < 0 and errno == EINTR:
                continue
            die("write", path, errno if n < 0 else ENOSPC)
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
    Place place
    char[NAME_BYTES] path


cdef class Wal:
    """The open log of one node; see the module's docstring."""

    cdef readonly object directory, repairs
    cdef public object recovered    # replaced by one without records when they are restored
    cdef readonly int done_fd       # an eventfd: readable when the writer finished a group
    cdef readonly uint64_t durable  # the newest group write that is
    cdef int wake_fd                # to the writer: a group is there, or stop
    cdef int want_fd                # to the preparer: make the next segment, or stop
    cdef int ready_fd               # from the preparer: ``next`` is filled in
    cdef int lock_fd
    cdef OpenSegment current, next
    cdef GroupWrite group
    cdef tuple held                 # keeps its bytes alive while the writer reads them
    cdef bint in_flight, stopping, closed
    cdef bint wanted                # the next segment is to be made
    cdef Retention retention        # of what is durable
    cdef uint64_t needed            # those before this segment are to be freed,
    cdef uint64_t oldest            # from this one on
    cdef list spares
    cdef readonly uint64_t freed, recycled
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
        self.retention = Retention()

    # -- writing: no GIL, no Python object ------------------------------------------------

    cdef void write_frame(self, FrameWrite* frame) noexcept nogil:
        """Write one frame into the current segment and sync it."""
        cdef iovec[4] parts
        cdef uint64_t zeros = 0
        parts[0].iov_base, parts[0].iov_len = &frame.header, FRAME_HEADER
        parts[1].iov_base, parts[1].iov_len = <void*>frame.chunk, frame.chunk_size
        parts[2].iov_base, parts[2].iov_len = <void*>frame.records, frame.records_size
        parts[3].iov_base, parts[3].iov_len = &zeros, frame.padding
        write_all(self.current.fd, parts, 4, frame.offset, self.current.path)
        if frame.sync:
            sync_or_die(self.current.fd, self.current.path)
        self.written += frame.size

    cdef void take_next(self) noexcept nogil:
        """Go on in the prepared segment, and have another one made."""
        close(self.current.fd)
        self.current = self.next
        self.next.fd = -1
        self.wanted = True
        signal(self.want_fd)

    cdef void write_group(self) noexcept nogil:
        cdef uint64_t start = monotonic_ns()
        cdef uint64_t took
        cdef FrameWrite frame
        while not plan_frame(&self.group, &self.current.place, &frame):
            wait_on(self.ready_fd)      # a seal says that the next segment exists
            self.write_frame(&frame)
            self.take_next()
        self.write_frame(&frame)
        took = monotonic_ns() - start
        self.syncs += 1
        self.sync_ns += took
        self.sync_buckets[bucket_of(took // 1000)] += 1
        self.bytes_buckets[bucket_of(self.group.header.size)] += 1

    cdef void serve_writes(self) noexcept nogil:
        while True:
            wait_on(self.wake_fd)
            if self.stopping:
                return
            self.write_group()
            signal(self.done_fd)

    cdef int adopt(self, OpenSegment* segment, object file, uint64_t offset) except -1:
        """Take over a SegmentFile's descriptor."""
        cdef bytes path = os.fsencode(file.path)
        if len(path) >= NAME_BYTES:
            raise ValueError(f"the path {file.path} is longer than {NAME_BYTES - 1} bytes")
        memcpy(segment.path, <const char*>path, len(path) + 1)
        segment.place = Place(file.sequence, file.salt, file.size, offset)
        segment.fd = file.fd
        return 0

    # -- opening ----------------------------------------------------------------------------

    @classmethod
    def open(cls, directory, *, segment_bytes=DEFAULT_SEGMENT_BYTES, create=True, damaged=False):
        """Lock, read back, repair a torn tail, and be ready for ``submit``.

        ``create=False`` says that there must be a log already: none is then a missing segment.
        ``damaged`` lets a log open that lost something (``recovered.damaged_until``): only for a
        node that has it written again before it votes.
        """
        if segment_bytes < MIN_SEGMENT_BYTES:
            raise ValueError(f"segment_bytes must be >= {MIN_SEGMENT_BYTES}, not {segment_bytes}")
        cdef Wal wal = cls()
        wal.directory = Path(directory)
        wal.segment_bytes = segment_bytes
        wal.lock_fd = lock_directory(wal.directory)
        wal.closed = False
        try:
            wal._start(create, damaged)
        except BaseException:
            wal.close()
            raise
        return wal

    def _start(self, create, damaged):
        """Recover, take the current segment, get the next one, start the threads."""
        clear_leftovers(self.directory)
        found = recover(self.directory, None, self.retention)
        if found.damaged_until and not damaged:
            raise CorruptSegment(*found.damage[0])
        if not found.segments:
            if not create:
                raise MissingSegment(f"segment {segment_path(self.directory, 1)} is missing")
            file = make_segment(self.directory, 1, self.segment_bytes)
            found = found._replace(end_sequence=1, end_offset=SEGMENT_HEADER)
        else:
            file = open_segment(segment_path(self.directory, found.end_sequence))
        self.adopt(&self.current, file, found.end_offset)
        self.oldest = self.needed = max(found.prepared, found.end_sequence) + 1 - max(
            found.segments, 1)
        self.spares = keep_spares(self.directory, self.segment_bytes)
        self.recovered = found
        self.repairs = [f"left {damage.path} as it is at offset {damage.offset}: {damage.what}"
                        for damage in found.damage]
        for repair in found.repairs:
            repair_segment(self.directory, repair)
        if found.torn:
            self.repairs.append(
                f"cut {found.torn} bytes of an unfinished write from {file.path}"
                f" at offset {found.end_offset}")
        self.done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self.want_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self.ready_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._take_prepared(found.prepared)
        for target in (self._write_groups, self._prepare_segments):
            thread = threading.Thread(target=target, name=f"wal{target.__name__}", daemon=True)
            thread.start()
            self.threads.append(thread)

    def _take_prepared(self, sequence):
        """Use the empty segment that an earlier run made ahead, or ask for one."""
        if sequence:
            file = open_segment(segment_path(self.directory, sequence))
            if file.size == self.segment_bytes:
                self.adopt(&self.next, file, SEGMENT_HEADER)
                signal(self.ready_fd)
                return
            os.close(file.fd)       # made with another segment_bytes: make it anew
            file.path.unlink()
        self.wanted = True
        signal(self.want_fd)

    def _write_groups(self):
        """Write the groups that ``submit`` hands over, until close()."""
        with nogil:
            self.serve_writes()

    def _prepare_segments(self):
        """Make the next segment whenever the writer took the last one, and free those that are
        needless, until close()."""
        while True:
            with nogil:
                wait_on(self.want_fd)
            if self.stopping:
                return
            if self.wanted:
                self.wanted = False
                self._make_next(self.current.place.sequence + 1)
            while self.oldest < self.needed and not self.stopping:
                self._free(self.oldest)

    def _make_next(self, sequence):
        """Make the next segment, out of a spare if there is one."""
        try:
            if self.spares:
                file = recycle_segment(
                    self.directory, self.spares.pop(), sequence, self.segment_bytes)
                self.recycled += 1
            else:
                file = make_segment(
                    self.directory, sequence, self.segment_bytes, lambda: self.stopping)
        except OSError as error:
            path = os.fsencode(segment_path(self.directory, sequence))
            die("prepare", path, error.errno or 0)
        if file is not None:
            self.adopt(&self.next, file, SEGMENT_HEADER)
            signal(self.ready_fd)

    def _free(self, sequence):
        """Take the oldest segment out of the log; keep it as a spare, or remove it."""
        try:
            spare = free_segment(self.directory, sequence)
            if len(self.spares) < SPARES and spare.stat().st_size == self.segment_bytes:
                self.spares.append(spare)
            else:
                spare.unlink()
        except OSError as error:
            path = os.fsencode(segment_path(self.directory, sequence))
            die("free", path, error.errno or 0)
        self.oldest = sequence + 1
        self.freed += 1

    # -- group writes -----------------------------------------------------------------------

    @property
    def busy(self):
        """Whether a group write is in flight."""
        return self.in_flight

    @property
    def tidy(self):
        """Whether the next segment is made, and all that is needless was freed."""
        return self.next.fd >= 0 and self.oldest >= self.needed

    @property
    def roomy(self):
        """Whether a quick writer would not have to wait for the next segment to be made."""
        return self.next.fd >= 0 or self.current.place.offset < self.segment_bytes // 2

    @property
    def segment(self):
        """The sequence number of the segment in use."""
        return self.current.place.sequence

    def submit(self, uint64_t seq, uint64_t term, uint64_t vote, uint32_t count,
               bytes records not None, uint64_t base=0, uint64_t base_term=0,
               bytes chunk not None=b"", uint64_t first=0, *, bint inline=False):
        """Take one group write; return whether it is durable already.

        False means that ``done_fd`` becomes readable when it is: then call ``completed``.
        ``inline`` asks to write and sync here and now, which a change of segment overrules.
        ``base`` is the entry after which the records go, ``chunk`` one of a snapshot or nothing;
        entries below ``first`` are not needed once a complete snapshot holds them.
        """
        cdef size_t size = <size_t>len(records) + <size_t>len(chunk)
        if self.closed or self.in_flight:
            raise InvariantViolation(
                f"group write {seq} submitted while"
                f" {'the log is closed' if self.closed else f'{self.group.seq} is in flight'}")
        if seq <= self.durable:
            raise InvariantViolation(f"group write {seq} comes after {self.durable}")
        if size > largest_group(self.segment_bytes):
            raise InvariantViolation(
                f"group write of {size} bytes in segments of {self.segment_bytes}")
        if not set_group(&self.group, seq, term, vote, count, <const uint8_t*>records,
                         len(records), base, base_term, <const uint8_t*>chunk, len(chunk), first):
            raise InvariantViolation(
                f"group write {seq} is not {count} whole records after entry {base}:"
                f" {size} bytes")
        if chunk and not self.retention.continues(chunk):
            raise InvariantViolation(f"group write {seq}: its chunk continues no snapshot")
        if inline and fits(&self.current.place, size):
            with nogil:
                self.write_group()
            self._note_durable()
            return True
        self.held = (records, chunk)
        self.in_flight = True
        signal(self.wake_fd)
        return False

    def completed(self):
        """Take note of what the writer finished; return the newest durable group write."""
        cdef uint64_t value = 0
        if self.in_flight and read(self.done_fd, &value, 8) == 8:
            self.in_flight = False
            self._note_durable()
            self.held = None
        return self.durable

    cdef int _note_durable(self) except -1:
        """The group write is on disk: see what that makes needless."""
        cdef uint64_t needed
        self.durable = self.group.seq
        self.retention.take_group(self.current.place.sequence, &self.group)
        needed = self.retention.needless(self.group.first)
        if needed > self.needed:
            self.needed = needed
            signal(self.want_fd)
        return 0

    def finish(self):
        """Wait for the group write in flight, if any; return the newest durable one."""
        while self.in_flight:
            select.select([self.done_fd], [], [])
            self.completed()
        return self.durable

    def stats(self):
        """Return counters and histograms since the start."""
        return WalStats(self.syncs, self.written, self.sync_ns,
                        tuple(self.sync_buckets), tuple(self.bytes_buckets),
                        self.freed, self.recycled)

    def close(self):
        """Finish the group write in flight, stop the threads, release the directory."""
        if self.closed:
            return
        if self.threads:
            self.finish()
        self.closed = self.stopping = True
        for fd in (self.wake_fd, self.want_fd):
            if fd >= 0:
                signal(fd)
        for thread in self.threads:
            thread.join()
        for fd in (self.current.fd, self.next.fd, self.done_fd, self.wake_fd, self.want_fd,
                   self.ready_fd, self.lock_fd):
            if fd >= 0:
                os.close(fd)
