package main

import (
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// compact has a node make a snapshot of what it has applied. A leader does so once it has committed
// an entry of its term (ours doesn't remember the commit index), unless it is sending one; another node where all is settled and its leader can reach it, so that it has
// been told all that is committed.
func (c *cluster) compact(n *node, keep uint64) {
	if n.RawNode == nil {
		return
	}
	if !n.leads() {
		c.settle()
	}
	if n.leads() {
		b := n.BasicStatus()
		if term, err := n.disk.Term(b.Commit); err != nil || term != b.Term {
			return
		}
		for id, p := range n.Status().Progress {
			if p.State == tracker.StateSnapshot && c.linked(n.id, id) {
				return
			}
		}
	} else {
		b := n.BasicStatus()
		if b.Lead == 0 || !c.linked(b.Lead, n.id) || !c.nodes[b.Lead].leads() ||
			c.nodes[b.Lead].BasicStatus().Term != b.Term {
			return
		}
	}
	if n.disk.compact(keep) {
		c.counters["compactions"]++
	}
}

// part delivers what is on its way from a to b before a snapshot; then the connection breaks, amidst
// the snapshot, and comes up again.
func (c *cluster) part(a, b uint64) {
	letters := c.queues[a][b]
	at := slices.IndexFunc(letters, func(l letter) bool { return l.Type == pb.MsgSnap })
	if at < 0 {
		return
	}
	c.queues[a][b] = letters[:at:at]
	c.deliver(a, b)
	c.counters["broken transfers"]++
	c.lose(a, b)
	c.meet(a, b)
}

const guestOf = 12 // a snapshot's data is longer than this if its receiver was made a learner

// invite makes the receiver of a snapshot a learner of its configuration, unless it is in there.
// etcd's Raft refuses a snapshot of a configuration without the receiver: its hosts make a new one
// whenever one is sent. Ours takes it; the configuration with itself is in the log that follows.
func invite(s pb.Snapshot, to uint64) *pb.Snapshot {
	cs := s.Metadata.ConfState
	for _, set := range [][]uint64{cs.Voters, cs.Learners, cs.VotersOutgoing} {
		if slices.Contains(set, to) {
			return &s
		}
	}
	s.Metadata.ConfState.Learners = append(slices.Clone(cs.Learners), to)
	s.Data = append(slices.Clone(s.Data), 1)
	return &s
}

func invited(s pb.Snapshot) bool { return len(s.Data) > guestOf }

// awaits tells whether the leader waits for the answer to an append, and no longer holds what it
// would send again.
func (n *node) awaits(id uint64) bool {
	p, member := n.Status().Progress[id]
	first, _ := n.disk.FirstIndex()
	return member && p.State == tracker.StateProbe && p.MsgAppFlowPaused && p.Next < first
}
