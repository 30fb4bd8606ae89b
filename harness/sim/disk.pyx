"""A node's disk in memory: the real log's bytes, and an exact account of what would survive.

The bytes are placed by the code that places them in files (core/group_write.pyx) and read
back by the real recovery; only the file system is imagined. What it does:

* A write goes to the page cache; the sync after it makes all of the log durable. One group
  write is in flight at a time; at the end of a segment it is two writes, each with a sync:
  the seal, then the frame in the next segment.
* Kill: the page cache survives. Of the write in flight nothing or all is there, but it is
  not durable: the next start reads it, and must make it so.
* Power loss: of a write that was not synced each sector of 512 bytes is kept or lost, in no
  order. A sector is never half written, and creating a segment is durable at once.
* A segment that is no longer needed is freed after the sync that made it so: the oldest first, each
  durably before the next. Whatever crash comes, some of those that were to be freed are, the others
  come back. A freed segment makes a new one, and what it held is still in it.
* A disk that lies keeps what it was told to sync in a cache of its own, which it empties in
  order: after a power loss half of the time nothing of it is there, else the beginning.

``durable_term`` and ``durable_last`` are kept up to date by this module's own reading of the
frames, never by what recovery says: they are what recovery is judged by.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cimport cython

from seatrial.core.codec cimport KIND_SNAPSHOT, Record
from seatrial.core.group_write cimport (
    MIN_SEGMENT,
    FrameWrite,
    Place,
    largest_group,
    plan_frame,
    set_group,
)
from seatrial.core.retention cimport Retention
from seatrial.core.segment cimport (
    FRAME_HEADER,
    FRAME_VALID,
    SEAL_MAGIC,
    SEGMENT_HEADER,
    FrameHeader,
    check_frame,
    padded,
)

from pathlib import Path

from seatrial.core.errors import CorruptSegment, InvariantViolation, NodeError
from seatrial.core.recovery import recover_images, segment_path
from seatrial.core.segment import encode_segment_header

cdef enum:
    SECTOR = 512
    SPARES = 4
    LAST_CHUNK = 1               # Record.flags
    PPM = 1000000


cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    """Scramble 64 bits (splitmix64's output function, as harness/rng.py)."""
    z += <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline bint before(Spot a, Spot b) noexcept nogil:
    return a.sequence < b.sequence or (a.sequence == b.sequence and a.offset < b.offset)


@cython.final
cdef class Disk:
    """The log of one host; see the module's docstring."""

    def __cinit__(self, uint64_t seed, uint64_t host, *, uint64_t sync_ns,
                  uint64_t sync_jitter_ns, uint64_t sync_tail_ppm, uint64_t sync_tail_ns,
                  uint64_t segment_bytes):
        if segment_bytes < MIN_SEGMENT:
            raise ValueError(f"segment_bytes must be >= {MIN_SEGMENT}, not {segment_bytes}")
        self.key = mix(mix(seed) ^ host)
        self.directory = Path(f"host-{host}") / "wal"
        self.times = Times(sync_ns, sync_jitter_ns, sync_tail_ppm, sync_tail_ns)
        self.segment_bytes = segment_bytes
        self.images = NULL
        self.terms = NULL
        self.retention = Retention()
        self.oldest = 1
        self.durable = Spot(1, SEGMENT_HEADER)
        self.tail = Place(1, 0, segment_bytes, SEGMENT_HEADER)
        self.factor = 1

    def __dealloc__(self):
        self.drop_after(0)
        while self.spare_count:
            self.spare_count -= 1
            free(self.spares[self.spare_count].data)
        free(self.images)
        free(self.terms)

    # -- group writes: what the world calls for every one -------------------------------------

    cpdef int64_t submit(self, uint64_t seq, uint64_t term, uint64_t vote, uint32_t count,
                         const char* records, size_t size, uint64_t base, uint64_t base_term,
                         const char* chunk, size_t chunk_size, uint64_t first,
                         uint64_t now_ns) except -2:
        """Write one group; return the time until its sync returns, which ``synced`` then tells.

        -1: the disk failed and the node must stop; ``error`` says in words why.
        """
        cdef FrameWrite frame
        cdef uint64_t took = 0
        cdef bint last = False
        if not self.running or self.flying:
            raise InvariantViolation(
                f"group write {seq} submitted while"
                f" {f'{self.group.seq} is in flight' if self.flying else 'the log is closed'}")
        if size + chunk_size > largest_group(self.segment_bytes):
            raise InvariantViolation(f"group write of {size + chunk_size} bytes in segments of"
                                     f" {self.segment_bytes}")
        if not set_group(&self.group, seq, term, vote, count, <const uint8_t*>records, size, base,
                         base_term, <const uint8_t*>chunk, chunk_size, first):
            raise InvariantViolation(f"group write {seq} is not {count} whole records after entry"
                                     f" {base}: {size + chunk_size} bytes")
        if chunk_size and not self.retention.continues(<const uint8_t*>chunk):
            raise InvariantViolation(f"group write {seq}: its chunk continues no snapshot")
        self.free_until(self.needed)
        while not last:
            self.flights[self.flying] = Spot(self.tail.sequence, self.tail.offset)
            self.flying += 1
            last = plan_frame(&self.group, &self.tail, &frame)
            self.write(&frame, self.tail.sequence)
            self.synchronous = frame.sync
            if frame.sync:
                took += self.sync_time(now_ns + self.flying)
            if not last:
                self.tail.sequence += 1
                self.tail.salt = self.images[self.tail.sequence - 1].salt
                self.tail.offset = SEGMENT_HEADER
                if not self.make_segment():
                    return self.stop("prepare", self.count + 1)
        if self.failing:
            return self.stop("sync", self.tail.sequence)
        self.busy_ns += took
        return took

    cpdef int synced(self, uint64_t seq) except -1:
        """Take note that the sync of group write ``seq`` returned.

        SYNC_STALLED says that it did not: to be called again when ``unstalled`` was.
        """
        if not self.flying or seq != self.group.seq:
            raise InvariantViolation(
                f"group write {seq} synced, but {self.group.seq if self.flying else 'none'}"
                f" is in flight")
        if self.stalled:
            self.waiting = True
            self.stalls += 1
            return SYNC_STALLED
        self.flying = 0
        if not self.synchronous:
            return SYNC_RETURNED
        self.syncs += 1
        if self.lying:
            self.lies += 1
        else:
            self.harden()
            self.needed = max(self.needed, self.retention.needless(self.group.first))
        return SYNC_RETURNED

    cpdef uint64_t durable_term(self, uint64_t index) noexcept:
        """Return the term of the record at ``index`` that a power loss would leave, or 0."""
        return self.terms[index] if 0 < index <= self.last else 0

    cpdef uint64_t durable_last(self) noexcept:
        """Return the index of the last record that a power loss would leave."""
        return self.last

    cdef uint64_t sync_time(self, uint64_t now_ns) noexcept nogil:
        """Draw the time of a sync, from the moment only. A slow disk's tail is no longer."""
        cdef uint64_t draw = mix(self.key ^ now_ns)
        cdef uint64_t took = self.times.least_ns + draw % (self.times.jitter_ns + 1)
        took *= self.factor
        if mix(draw) % PPM < self.times.tail_ppm:
            took += self.times.tail_ns
        return took

    cdef int write(self, const FrameWrite* frame, uint64_t sequence) except -1:
        """Put one frame into its segment."""
        cdef uint8_t* to
        cdef Image* image = &self.images[sequence - 1]
        cdef uint64_t end = frame.offset + frame.size
        cdef uint64_t want = image.held
        cdef uint8_t* moved
        if end > want:
            while want < end:
                want *= 2
            want = min(want, self.segment_bytes)
            moved = <uint8_t*>realloc(image.data, want)
            if moved is NULL:
                raise MemoryError
            memset(moved + image.held, 0, want - image.held)
            image.data = moved
            image.held = want
        to = image.data + frame.offset
        memcpy(to, &frame.header, FRAME_HEADER)
        to += FRAME_HEADER
        if frame.chunk_size:
            memcpy(to, frame.chunk, frame.chunk_size)
        to += frame.chunk_size
        if frame.records_size:
            memcpy(to, frame.records, frame.records_size)
        memset(to + frame.records_size, 0, frame.padding)
        self.writes += 1
        return 0

    cdef bint make_segment(self) except -1:
        """Add an empty segment, out of a spare if there is one; return False when the disk is
        full."""
        cdef bytes header
        cdef Image* image
        cdef uint64_t room = 2 * self.room if self.room else 8
        cdef void* moved
        if self.full and not self.spare_count:
            return False
        if self.count == self.room:
            moved = realloc(self.images, room * sizeof(Image))
            if moved is NULL:
                raise MemoryError
            self.images = <Image*>moved
            self.room = room
        image = &self.images[self.count]
        if self.spare_count:
            image[0] = self.spares[self.spare_count - 1]
            image.stale = <uint8_t*>realloc(NULL, image.held)
            if image.stale is NULL:
                raise MemoryError
            self.spare_count -= 1
            self.recycled += 1
            image.stale_held = image.held
            memcpy(image.stale, image.data, image.held)
        else:
            image.data = <uint8_t*>realloc(NULL, MIN_SEGMENT)
            if image.data is NULL:
                raise MemoryError
            image.held = MIN_SEGMENT
            memset(image.data, 0, MIN_SEGMENT)
            image.stale = NULL
            image.stale_held = 0
        self.count += 1
        # Number and salt differ in this life of the segment from those in any other.
        image.salt = mix(self.key ^ mix(self.count) ^ self.made)
        self.made += image.stale is not NULL
        header = encode_segment_header(
            self.count, image.salt, self.segment_bytes, recycled=image.stale is not NULL)
        memcpy(image.data, <const char*>header, SEGMENT_HEADER)
        return True

    cdef void free_until(self, uint64_t sequence) noexcept:
        """Free the segments before this one; keep some of them as spares."""
        cdef Image* image
        while self.oldest < sequence:
            image = &self.images[self.oldest - 1]
            free(image.stale)
            image.stale = NULL
            if self.spare_count < SPARES:
                self.spares[self.spare_count] = image[0]
                self.spare_count += 1
            else:
                free(image.data)
            image.data = NULL
            self.oldest += 1
            self.freed += 1

    cdef void wipe(self, Image* image, uint64_t at, uint64_t end) noexcept:
        """Put back what was there before a write that is lost."""
        cdef uint64_t known = min(max(image.stale_held, at), end)
        if at < known:
            memcpy(image.data + at, image.stale + at, known - at)
        if known < end:
            memset(image.data + known, 0, end - known)

    cdef int64_t stop(self, str what, uint64_t sequence) except -2:
        """Say why the node must stop, in the words of the real log. It has to be killed now."""
        why = "No space left on device" if what == "prepare" else "Input/output error"
        self.error = f"can't {what} {segment_path(self.directory, sequence)}: {why}"
        self.errors += 1
        return -1

    # -- crashes --------------------------------------------------------------------------------

    cpdef int killed(self, uint64_t draw) except -1:
        """The process is gone: of its write in flight nothing or all is in the page cache."""
        cdef bint flying = self.flying
        self._free_some(mix(draw))
        self.settle(draw & 1)
        if flying and draw & 2:
            self.rewind(self.flights[0])
        return 0

    cpdef int power_lost(self, uint64_t draw) except -1:
        """The power is gone: unsynced sectors are kept or lost."""
        self._free_some(mix(draw))
        self.settle(draw & 1)
        if before(self.durable, Spot(self.tail.sequence, self.tail.offset)):
            if before(self.durable, self.flights[0]):
                self.lose_cache(mix(draw))
            else:
                self.tear(mix(draw))
            self.harden()
        self.tail.sequence, self.tail.offset = self.durable.sequence, self.durable.offset
        return 0

    def _free_some(self, uint64_t draw):
        """A crash: of the segments that were about to be freed, the first are, or none."""
        cdef uint64_t some
        if self.oldest < self.needed:
            some = draw % (self.needed - self.oldest + 1)
            self.free_until(self.oldest + some)
            self.needed = self.oldest

    cdef int settle(self, bint seal_synced) except -1:
        """End the process with at most one write in flight, at ``flights[0]``."""
        cdef Place end = self.tail
        if self.flying == 2 and not seal_synced:
            self.rewind(self.flights[1])
            self.drop_after(self.tail.sequence)     # the next one is made after that sync
        elif self.flying == 2:
            self.tail.sequence, self.tail.offset = self.flights[1].sequence, SEGMENT_HEADER
            if self.synchronous and not self.lying:
                self.harden()
            self.tail = end
            self.flights[0] = self.flights[1]
        self.flying = 0
        self.running = self.waiting = False
        return 0

    cdef void rewind(self, Spot to) noexcept:
        """Forget all bytes from ``to`` on. The segment after it may be there, empty."""
        cdef uint64_t offset = to.offset
        cdef uint64_t sequence
        cdef Image* image
        for sequence in range(to.sequence, min(to.sequence + 1, self.count) + 1):
            image = &self.images[sequence - 1]
            if offset < image.held:
                self.wipe(image, offset, image.held)
            offset = SEGMENT_HEADER
        self.drop_after(to.sequence + 1)
        self.tail.sequence, self.tail.offset = to.sequence, to.offset

    cdef void drop_after(self, uint64_t sequence) noexcept:
        """Remove all segments with a higher number."""
        while self.count > sequence:
            self.count -= 1
            free(self.images[self.count].data)
            free(self.images[self.count].stale)

    cdef void tear(self, uint64_t draw) noexcept:
        """Keep or lose each sector of the one write that was not synced."""
        cdef uint64_t at = self.durable.offset
        cdef uint64_t end = at + FRAME_HEADER       # of a seal; else the tail is behind it
        cdef uint64_t next
        if self.tail.sequence == self.durable.sequence:
            end = self.tail.offset
        while at < end:
            next = min((at // SECTOR + 1) * SECTOR, end)
            if mix(draw ^ at) & 1:
                self.wipe(&self.images[self.durable.sequence - 1], at, next)
                self.sectors_lost += 1
            else:
                self.sectors_kept += 1
            at = next

    cdef void lose_cache(self, uint64_t draw) noexcept:
        """Lose what was said to be synced and was not: all of it, or from some sector on."""
        cdef Spot to = self.durable
        cdef uint64_t span = self.tail.sequence - self.durable.sequence + 1
        cdef uint64_t end
        if draw & 1:
            to.sequence += mix(draw) % span
            if to.sequence != self.durable.sequence:
                to.offset = SEGMENT_HEADER
            end = self.tail.offset if to.sequence == self.tail.sequence else self.segment_bytes
            end = to.offset + mix(draw + 1) % (end - to.offset + 1)
            to.offset = max(to.offset, end // SECTOR * SECTOR)
        self.sectors_lost += (span - 1) * self.segment_bytes // SECTOR
        self.sectors_lost += (self.tail.offset - SEGMENT_HEADER) // SECTOR + 1
        self.rewind(to)

    cdef int harden(self) except -1:
        """Count all whole frames from ``durable`` to the tail as durable."""
        cdef Image* image
        cdef FrameHeader header
        cdef uint64_t end
        cdef size_t bad
        while before(self.durable, Spot(self.tail.sequence, self.tail.offset)):
            image = &self.images[self.durable.sequence - 1]
            end = image.held
            if self.durable.sequence == self.tail.sequence:
                end = min(end, self.tail.offset)
            if check_frame(image.data, self.durable.offset, end, image.salt, &bad) != FRAME_VALID:
                break
            memcpy(&header, image.data + self.durable.offset, FRAME_HEADER)
            self.retention.begin(self.durable.sequence)
            self.index_frame(&header, image.data + self.durable.offset + FRAME_HEADER)
            self.durable.offset += padded(FRAME_HEADER + header.size)
            if header.magic == SEAL_MAGIC:
                self.durable = Spot(self.durable.sequence + 1, SEGMENT_HEADER)
        return 0

    cdef int index_frame(self, const FrameHeader* header, const uint8_t* records) except -1:
        """Note the terms of a frame's entries; each voids those with its index or a higher one.

        A snapshot that is complete stands for the entry that it ends with: if the log lacks that,
        nothing else of it counts.
        """
        cdef size_t at = 0
        cdef const Record* record
        cdef uint64_t entries = header.count
        while at < header.size:
            record = <const Record*>(records + at)
            at += record.length
            if record.kind == KIND_SNAPSHOT:
                entries -= 1
                self.retention.take_chunk(<const uint8_t*>record)
                if record.flags & LAST_CHUNK and self.durable_term(record.index) != record.term:
                    self.note_term(record.index, record.term)
            elif record.index == self.last + 1 or (
                    self.retention.complete.index < record.index <= self.last):
                self.note_term(record.index, record.term)
        self.retention.take_entries(header.base + 1, header.base + entries)
        return 0

    cdef int note_term(self, uint64_t index, uint64_t term) except -1:
        """Let this entry be the last."""
        cdef uint64_t room
        cdef void* moved
        if index >= self.terms_room:
            room = max(2 * self.terms_room, index + 1024)
            moved = realloc(self.terms, room * sizeof(uint64_t))
            if moved is NULL:
                raise MemoryError
            self.terms = <uint64_t*>moved
            memset(self.terms + self.terms_room, 0, (room - self.terms_room) * sizeof(uint64_t))
            self.terms_room = room
        if index > self.last + 1:           # a snapshot stands in place of those between
            memset(self.terms + self.last + 1, 0, (index - self.last - 1) * sizeof(uint64_t))
        self.terms[index] = term
        self.last = index
        return 0

    def recover(self, *, damaged=False):
        """Start again: return what the real recovery reads (a Recovered).

        Makes the repairs it asks for. Raises CorruptSegment or MissingSegment as it does, and
        for a log that lost something unless ``damaged`` says that it may (as Wal.open), and
        NodeError when the disk fails. A stalled disk does not hold it up.
        """
        if self.running:
            raise InvariantViolation(f"{self.directory} is read back while its log is open")
        self.settle(True)
        self.error = None
        if not self.count and not self.make_segment():
            self.stop("prepare", 1)
            raise NodeError(self.error)
        retention = Retention()
        found = recover_images(self.segments(), None, retention)
        if found.damaged_until and not damaged:
            raise CorruptSegment(*found.damage[0])
        if found.repairs and self.failing:
            self.stop("repair segment", found.repairs[0].sequence)
            raise NodeError(self.error)
        self.tail = Place(found.end_sequence, self.images[found.end_sequence - 1].salt,
                          self.segment_bytes, found.end_offset)
        for repair in found.repairs:
            self._repair(repair)
        if self.count == self.tail.sequence and not self.make_segment():
            self.stop("prepare", self.count + 1)
            raise NodeError(self.error)
        if before(Spot(self.tail.sequence, self.tail.offset), self.durable):
            self._read_again()
        if found.damage:                # a snapshot may be gone with what was there
            self.retention = retention
        self.recoveries += 1
        self.running = True
        return found

    def _repair(self, repair):
        """Write what recovery asks for, and sync it."""
        cdef Image* image = &self.images[<uint64_t>repair.sequence - 1]
        cdef uint64_t at = repair.offset
        cdef uint64_t size = repair.size
        if repair.zeros:
            memset(image.data + at, 0, size)
            if at < image.stale_held:
                memset(image.stale + at, 0, min(size, image.stale_held - at))
        if not self.lying:
            self.harden()

    def _read_again(self):
        """Recovery cut what was durable: see what is left."""
        self.durable = Spot(self.oldest, SEGMENT_HEADER)
        self.last = 0
        self.retention = Retention()
        self.harden()

    # -- what is there --------------------------------------------------------------------------

    def segments(self) -> list:
        """Return the segments as recovery takes them: (sequence, path, bytes)."""
        return [
            (sequence, segment_path(self.directory, sequence),
             (<const char*>self.images[<uint64_t>sequence - 1].data)[
                 :self.images[<uint64_t>sequence - 1].held].ljust(self.segment_bytes, b"\0"))
            for sequence in range(self.oldest, self.count + 1)
        ]

    @property
    def in_flight(self):
        """Whether a group write is."""
        return self.flying > 0

    def counters(self) -> dict:
        """Return what happened so far, by name."""
        return {
            "writes": self.writes, "syncs": self.syncs, "errors": self.errors,
            "lies": self.lies, "stalls": self.stalls, "flips": self.flips,
            "sectors_kept": self.sectors_kept, "sectors_lost": self.sectors_lost,
            "busy_ns": self.busy_ns, "recoveries": self.recoveries, "segments": self.count,
            "freed": self.freed, "recycled": self.recycled,
        }

    # -- faults ---------------------------------------------------------------------------------

    def slow(self, uint64_t factor):
        """Let every sync that begins from now on take ``factor`` times as long."""
        if factor < 1:
            raise ValueError(f"a disk is slowed down by a factor >= 1, not {factor}")
        self.factor = factor

    def stall(self):
        """Let no sync return."""
        self.stalled = True

    def unstall(self):
        """Let syncs return again, first of all the one that waits."""
        self.stalled = False
        if self.waiting:
            self.waiting = False
            if self.unstalled is not None:
                self.unstalled()

    def fail(self):
        """Let every sync fail (EIO)."""
        self.failing = True

    def fill(self):
        """Leave no room for another segment (ENOSPC); the one in use and the next are there."""
        self.full = True

    def lie(self):
        """Let syncs return with nothing durable."""
        self.lying = True

    def flip(self, uint64_t draw):
        """Flip one bit of what is durable; return (sequence, offset), or None: there is nothing.

        The newest frame is left alone: damaged, it can't be told from a torn write. So are
        the zeros between frames, which mean nothing.
        """
        cdef uint64_t sequence, at, place
        spans = self._spans()
        place = mix(self.key ^ draw) % max(1, sum(size for _, _, size in spans))
        for sequence, at, size in spans:
            if place < size:
                self.images[sequence - 1].data[at + place] ^= 1 << (draw % 8)
                self.flips += 1
                return sequence, at + place
            place -= size
        return None

    def _spans(self):
        """Return the bytes that a flip may hit, as (sequence, offset, size)."""
        cdef Spot at = Spot(self.oldest, SEGMENT_HEADER)
        cdef FrameHeader header
        cdef Image* image
        cdef size_t bad
        found = []
        newest = None
        while self.count and before(at, self.durable):
            image = &self.images[at.sequence - 1]
            if check_frame(image.data, at.offset, image.held, image.salt, &bad) != FRAME_VALID:
                break                       # damaged already
            memcpy(&header, image.data + at.offset, FRAME_HEADER)
            if newest is not None:
                found.append(newest)
            newest = (at.sequence, at.offset, FRAME_HEADER + header.size)
            at.offset += padded(FRAME_HEADER + header.size)
            if header.magic == SEAL_MAGIC:
                at = Spot(at.sequence + 1, SEGMENT_HEADER)
        headers = [(sequence, 0, SEGMENT_HEADER)
                   for sequence in range(self.oldest, min(self.durable.sequence, self.count) + 1)]
        return headers + found

    def heal(self):
        """End all faults. Bits that were flipped stay so."""
        self.factor = 1
        self.failing = self.full = self.lying = False
        self.unstall()
