package main

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Kinds of entries, as both sides name them.
const (
	kindNoop   = 0
	kindData   = 1
	kindConfig = 3
)

// disk is what survives a crash: etcd's storage in memory, and beside it the configuration as of
// the newest applied entry, which etcd's host must remember.
type disk struct {
	*raft.MemoryStorage
	conf    pb.ConfState
	applied uint64
	held    uint64   // how many of the applied entries are commands: the state machine
	sums    []uint32 // sums[i]: of entries 1..i, so that whole logs are compared by one number
}

func newDisk(conf pb.ConfState) *disk {
	return &disk{MemoryStorage: raft.NewMemoryStorage(), conf: conf, sums: []uint32{0}}
}

func (d *disk) InitialState() (pb.HardState, pb.ConfState, error) {
	hs, _, err := d.MemoryStorage.InitialState()
	return hs, d.conf, err
}

func (d *disk) append(entries []pb.Entry) {
	if len(entries) == 0 {
		return
	}
	must(d.MemoryStorage.Append(entries))
	d.sums = d.sums[:entries[0].Index]
	for i := range entries {
		d.sums = append(d.sums, sum(d.sums[len(d.sums)-1], &entries[i]))
	}
}

// restore takes a snapshot in; its data is the sum of the entries it stands for, and how many of
// them are commands. Who was made a learner to be sent it stays one until its configuration comes,
// but says so to nobody.
func (d *disk) restore(s pb.Snapshot, id uint64) {
	d.conf = s.Metadata.ConfState
	if invited(s) {
		s.Data = s.Data[:guestOf]
		s.Metadata.ConfState.Learners = slices.DeleteFunc(slices.Clone(d.conf.Learners),
			func(learner uint64) bool { return learner == id })
	}
	must(d.MemoryStorage.ApplySnapshot(s))
	d.applied = s.Metadata.Index
	sums := make([]uint32, s.Metadata.Index+1)
	copy(sums, d.sums)
	sums[s.Metadata.Index] = binary.LittleEndian.Uint32(s.Data)
	d.held = binary.LittleEndian.Uint64(s.Data[4:])
	d.sums = sums
}

// compact makes a snapshot of everything applied and drops the entries before it, all but so many.
func (d *disk) compact(keep uint64) bool {
	have, err := d.MemoryStorage.Snapshot()
	must(err)
	if d.applied <= have.Metadata.Index {
		return false
	}
	data := binary.LittleEndian.AppendUint32(nil, d.sums[d.applied])
	data = binary.LittleEndian.AppendUint64(data, d.held)
	_, err = d.CreateSnapshot(d.applied, &d.conf, data)
	must(err)
	if first, _ := d.FirstIndex(); d.applied >= first+keep {
		must(d.MemoryStorage.Compact(d.applied - keep))
	}
	return true
}

func describe(e *pb.Entry) (kind int, id uint64) {
	if e.Type != pb.EntryNormal {
		return kindConfig, 0
	}
	if len(e.Data) == 0 {
		return kindNoop, 0
	}
	return kindData, binary.LittleEndian.Uint64(e.Data)
}

func sum(before uint32, e *pb.Entry) uint32 {
	var b [17]byte
	kind, id := describe(e)
	binary.LittleEndian.PutUint64(b[0:], e.Term)
	binary.LittleEndian.PutUint64(b[8:], id)
	b[16] = byte(kind)
	return crc32.Update(before, crc32.IEEETable, b[:])
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
