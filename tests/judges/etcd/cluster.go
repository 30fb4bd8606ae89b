package main

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/confchange"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// letter is a message on its way. round is the pre-campaign that a pre-vote, or the answer to
// one, belongs to.
type letter struct {
	pb.Message
	round int
}

// node is one member: RawNode, what the shell around it knows, and its disk.
type node struct {
	*raft.RawNode // nil: crashed
	id            uint64
	disk          *disk
	round         int             // of its newest pre-campaign
	answered      bool            // the pre-vote that was just delivered
	void          bool            // that pre-campaign ended when it voted for another
	floor         uint64          // its commit index when it started
	changing      bool            // it is about to apply a configuration, maybe without itself
	retired       bool            // it was removed from the configuration
	guest         bool            // a snapshot called it a learner before its configuration came
	muted         bool            // a heartbeat was answered: nothing needs to be sent again
	greeting      bool            // a connection came up
	told          uint64          // the commit index that it told as a leader
	probing       map[uint64]bool // members that it sent an empty append after a connection came up
	held          map[uint64][]letter
	asked         map[uint64]letter // its newest request for a (pre-)vote, until it is answered
}

// cluster is all nodes and the links between them.
type cluster struct {
	nodes     []*node // by id; 0 is unused
	links     [][]bool
	queues    [][][]letter
	proposed  uint64
	quiescent bool
	counters  map[string]int
}

func newCluster(nodes, voters int) *cluster {
	c := &cluster{counters: map[string]int{}}
	conf := pb.ConfState{}
	for id := 1; id <= voters; id++ {
		conf.Voters = append(conf.Voters, uint64(id))
	}
	for id := 0; id <= nodes; id++ {
		c.nodes = append(c.nodes, &node{id: uint64(id), disk: newDisk(conf)})
		c.links = append(c.links, make([]bool, nodes+1))
		c.queues = append(c.queues, make([][]letter, nodes+1))
		for other := range c.links[id] {
			c.links[id][other] = id != other && id != 0 && other != 0
		}
	}
	for _, n := range c.nodes[1:] {
		n.start()
	}
	return c
}

const electionTicks = 2

type silent struct{ raft.Logger }

func (silent) Debug(...interface{})            {}
func (silent) Debugf(string, ...interface{})   {}
func (silent) Info(...interface{})             {}
func (silent) Infof(string, ...interface{})    {}
func (silent) Warning(...interface{})          {}
func (silent) Warningf(string, ...interface{}) {}
func (silent) Error(...interface{})            {}
func (silent) Errorf(string, ...interface{})   {}
func (silent) Panic(v ...interface{})          { panic(fmt.Sprint(v...)) }
func (silent) Panicf(f string, v ...interface{}) {
	panic(fmt.Sprintf(f, v...))
}

func (n *node) start() {
	// Nobody ticks: elections, heartbeats, checks of the quorum and the end of a lease are
	// commands, so that no random timeout has a say.
	r, err := raft.NewRawNode(&raft.Config{
		ID: n.id, ElectionTick: electionTicks, HeartbeatTick: 1, Storage: n.disk, Applied: n.disk.applied,
		MaxSizePerMsg: 1 << 40, MaxInflightMsgs: 1 << 20, CheckQuorum: true, PreVote: true,
		DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: silent{},
	})
	must(err)
	n.RawNode = r
	n.floor = n.BasicStatus().Commit
	n.told = n.floor
	n.probing, n.held = map[uint64]bool{}, map[uint64][]letter{}
	n.asked = map[uint64]letter{}
	n.void = false
}

func (n *node) leads() bool {
	return n.RawNode != nil && n.BasicStatus().RaftState == raft.StateLeader
}

func (c *cluster) linked(a, b uint64) bool {
	return c.links[a][b] && c.nodes[a].RawNode != nil && c.nodes[b].RawNode != nil
}

// ---- the host's duties: write, send, apply -------------------------------------------------

// flush does what the node asks for until it asks for nothing more. round marks the answer to
// the pre-vote that was just delivered.
func (c *cluster) flush(n *node, round int) {
	var lost []uint64
	for n.HasReady() {
		rd := n.Ready()
		if !raft.IsEmptySnap(rd.Snapshot) {
			n.disk.restore(rd.Snapshot, n.id)
			n.guest = invited(rd.Snapshot)
			c.counters["snapshots"]++
		}
		if len(rd.Entries) > 0 && rd.Entries[0].Index < uint64(len(n.disk.sums)) {
			c.counters["conflicts"]++
		}
		n.disk.append(rd.Entries)
		if !raft.IsEmptyHardState(rd.HardState) {
			must(n.disk.SetHardState(rd.HardState))
		}
		n.changing = false
		for i := range rd.CommittedEntries {
			n.changing = n.changing || rd.CommittedEntries[i].Type != pb.EntryNormal
		}
		for _, m := range rd.Messages {
			c.send(n, m, round)
			if m.Type == pb.MsgSnap && !c.linked(n.id, m.To) {
				lost = append(lost, m.To)
			}
		}
		n.changing = false
		for i := range rd.CommittedEntries {
			c.apply(n, &rd.CommittedEntries[i])
		}
		n.Advance(rd)
		for _, id := range lost {
			n.ReportSnapshot(id, raft.SnapshotFailure)
		}
		lost = nil
	}
	commit := n.BasicStatus().Commit
	if n.leads() && commit != n.told {
		n.told = commit
		c.beat(n, 0)
	}
	n.told = commit
}

func (c *cluster) send(n *node, m pb.Message, round int) {
	l := letter{Message: m, round: round}
	switch m.Type {
	case pb.MsgPreVote:
		l.round = n.round
		n.asked[m.To] = l
	case pb.MsgVote:
		n.asked[m.To] = l
	case pb.MsgPreVoteResp:
		n.answered = true
	case pb.MsgSnap:
		l.Snapshot = invite(*m.Snapshot, m.To)
	}
	if m.Type == pb.MsgApp && !n.greeting && !n.changing &&
		(n.muted || len(m.Entries) == 0) {
		return // tells a commit index, as the heartbeat does that is sent besides, or probes again
	}
	if m.Type == pb.MsgApp && n.probing[m.To] {
		n.held[m.To] = append(n.held[m.To], l)
	} else if c.linked(n.id, m.To) {
		c.queues[n.id][m.To] = append(c.queues[n.id][m.To], l)
	}
}

func (c *cluster) apply(n *node, e *pb.Entry) {
	n.disk.applied = e.Index
	if e.Type == pb.EntryNormal {
		if kind, _ := describe(e); kind == kindData {
			n.disk.held++
		}
		return
	}
	var cc pb.ConfChangeV2
	if e.Type == pb.EntryConfChange {
		var old pb.ConfChange
		must(old.Unmarshal(e.Data))
		cc = old.AsV2()
	} else {
		must(cc.Unmarshal(e.Data))
	}
	for _, change := range cc.Changes {
		n.guest = n.guest && change.NodeID != n.id
	}
	n.disk.conf = *n.ApplyConfChange(cc)
}

// ---- messages ------------------------------------------------------------------------------

// deliver hands over everything on its way from a to b.
func (c *cluster) deliver(a, b uint64) bool {
	letters := c.queues[a][b]
	c.queues[a][b] = nil
	for _, l := range letters {
		if c.nodes[b].RawNode != nil {
			c.hand(c.nodes[b], l)
		}
	}
	return len(letters) > 0
}

func (c *cluster) hand(n *node, l letter) {
	term := n.BasicStatus().Term
	refuse := pb.Message{From: n.id, To: l.From, Term: term, Reject: true}
	switch l.Type {
	case pb.MsgVote:
		if l.Term < term { // etcd is silent; RequestVote RPC answers with the later term
			refuse.Type = pb.MsgVoteResp
			c.send(n, refuse, l.round)
			return
		}
		if n.BasicStatus().RaftState == raft.StatePreCandidate {
			defer func() {
				if n.BasicStatus().Vote == l.From {
					n.void = true // it goes on as a pre-candidate here; in ours it follows
				}
			}()
		}
	case pb.MsgPreVote:
		if l.Term == term { // the candidate's own term is behind: tell it, as for l.Term < term
			refuse.Type = pb.MsgPreVoteResp
			c.send(n, refuse, l.round)
			return
		}
	case pb.MsgPreVoteResp:
		if l.Reject && l.Term < term { // a refusal counts, whatever the refuser's term
			l.Term = term
		}
		if !(l.Reject && l.Term > term) && (l.round != n.round || n.void) {
			return // answers an earlier question
		}
		if n.asked[l.From].Type == pb.MsgPreVote {
			delete(n.asked, l.From)
		}
	case pb.MsgVoteResp:
		if l.Term == term && n.asked[l.From].Type == pb.MsgVote {
			delete(n.asked, l.From)
		}
	case pb.MsgApp: // etcd's takes no entry of one that begins below its commit index
		if known := n.BasicStatus().Commit; l.Index < known && l.Index+uint64(len(l.Entries)) > known {
			skip := known - l.Index
			l.Index, l.LogTerm, l.Entries = known, l.Entries[skip-1].Term, l.Entries[skip:]
		}
	case pb.MsgHeartbeatResp:
		if n.leads() && l.Term == term && n.awaits(l.From) {
			return // else a snapshot would be sent to whose answer is on its way
		}
	case pb.MsgSnap:
		if l.Term < term { // etcd is silent; InstallSnapshot RPC answers with the later term
			refuse.Type, refuse.Reject = pb.MsgAppResp, false
			c.send(n, refuse, l.round)
			return
		}
	case pb.MsgAppResp:
		if n.probing[l.From] {
			delete(n.probing, l.From)
			for _, h := range n.held[l.From] {
				if h.Term == l.Term && l.Term == term && !l.Reject {
					c.send(n, h.Message, 0)
				}
			}
			delete(n.held, l.From)
		}
	}
	trace("  %d->%d %v term %d reject %v index %d +%d commit %d", l.From, l.To, l.Type, l.Term, l.Reject, l.Index, len(l.Entries), l.Commit)
	_ = n.Step(l.Message) // ErrProposalDropped and the like: nothing happened
	if l.Type == pb.MsgPreVote {
		n.answered = false
		defer func() {
			if !n.answered { // etcd is silent while it hears a leader
				refuse.Type, refuse.Term = pb.MsgPreVoteResp, l.Term-1
				c.send(n, refuse, l.round)
			}
		}()
	}
	n.muted = l.Type == pb.MsgHeartbeatResp
	c.flush(n, l.round)
	n.muted = false
}

// lose drops what is on its way between a and b, as a broken connection does, and tells both.
func (c *cluster) lose(a, b uint64) {
	c.queues[a][b], c.queues[b][a] = nil, nil
	for _, pair := range [][2]uint64{{a, b}, {b, a}} {
		if n := c.nodes[pair[0]]; n.RawNode != nil {
			delete(n.probing, pair[1])
			delete(n.held, pair[1])
			n.ReportUnreachable(pair[1])
			n.ReportSnapshot(pair[1], raft.SnapshotFailure) // of one that was on its way, if any
			c.flush(n, 0)
		}
	}
}

// greet is what a Seatrial node does when a connection came up: a leader sends a heartbeat and
// the first entries missing, a candidate asks again if it wasn't answered.
func (c *cluster) greet(a, b uint64) {
	n := c.nodes[a]
	switch n.BasicStatus().RaftState {
	case raft.StateLeader:
		c.beat(n, b)
		n.greeting = true
		_ = n.Step(pb.Message{Type: pb.MsgHeartbeatResp, From: b, To: a, Term: n.BasicStatus().Term})
		c.flush(n, 0)
		n.greeting = false
		// Ours sends no entries after this append, even an empty one, until it is answered;
		// etcd's would after an empty one.
		for _, l := range c.queues[a][b] {
			n.probing[b] = n.probing[b] || l.Type == pb.MsgApp && len(l.Entries) == 0
		}
	case raft.StatePreCandidate, raft.StateCandidate:
		void := n.void && n.BasicStatus().RaftState == raft.StatePreCandidate
		if l, ok := n.asked[b]; ok && !void {
			c.queues[a][b] = append(c.queues[a][b], l)
		}
	}
}

func (c *cluster) meet(a, b uint64) {
	if c.linked(a, b) {
		c.greet(a, b)
		c.greet(b, a)
	}
}

const local = raft.LocalAppendThread // the sender that RawNode takes local messages from

// beat sends a leader's heartbeats; to one member only unless to is 0.
func (c *cluster) beat(n *node, to uint64) {
	c.flush(n, 0)
	_ = n.Step(pb.Message{Type: pb.MsgBeat, From: local})
	for n.HasReady() {
		rd := n.Ready()
		if !raft.IsEmptyHardState(rd.HardState) {
			must(n.disk.SetHardState(rd.HardState))
		}
		for _, m := range rd.Messages {
			if to == 0 || m.To == to {
				c.send(n, m, 0)
			}
		}
		n.Advance(rd)
	}
}

// drain delivers until nothing is on its way.
func (c *cluster) drain() {
	for moved := true; moved; {
		moved = false
		for a := range c.nodes {
			for b := range c.nodes {
				if c.deliver(uint64(a), uint64(b)) {
					moved = true
				}
			}
		}
	}
}

func (c *cluster) beatAll() {
	for _, n := range c.nodes[1:] {
		if n.leads() {
			c.beat(n, 0)
		}
	}
	c.drain()
}

// settle delivers everything and lets leaders speak until nothing changes any more.
func (c *cluster) settle() {
	c.drain()
	for before := ""; ; {
		c.beatAll()
		after := fmt.Sprint(c.fingerprint())
		if after == before {
			break
		}
		before = after
	}
	c.quiescent = true
}

func (c *cluster) fingerprint() (out []uint64) {
	for _, n := range c.nodes[1:] {
		if n.RawNode != nil {
			s := n.BasicStatus()
			out = append(out, s.Term, s.Vote, s.Lead, s.Commit, uint64(s.RaftState), uint64(len(n.disk.sums)))
		}
	}
	return out
}

// ---- commands ------------------------------------------------------------------------------

func (c *cluster) do(step string) error {
	c.quiescent = false
	trace("%s", step)
	words := strings.Fields(step)
	var args []uint64
	for _, w := range words[1:] {
		if words[0] == "compact" && len(args) == 1 {
			break // how many entries are kept
		}
		v, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			break // the words of a change of configuration
		}
		if v == 0 || v >= uint64(len(c.nodes)) {
			return fmt.Errorf("no node %d", v)
		}
		args = append(args, v)
	}
	n := c.nodes[0]
	if len(args) > 0 {
		n = c.nodes[args[0]]
	}
	switch words[0] {
	case "campaign": // an election timeout passes at a node
		if n.RawNode != nil && !n.leads() {
			n.round++
			n.void = false
			n.asked = map[uint64]letter{}
			before := n.BasicStatus().Term
			must(n.Campaign())
			c.flush(n, 0)
			if n.BasicStatus().RaftState != raft.StateFollower || n.BasicStatus().Term != before {
				c.counters["campaigns"]++
			}
		}
	case "lapse": // an election timeout passes at a node, which is about to campaign
		if n.RawNode != nil && !n.leads() {
			for range electionTicks {
				n.TickQuiesced()
			}
		}
	case "propose": // at every node that believes it leads
		for _, n := range c.nodes[1:] {
			if n.leads() {
				c.proposed++
				_ = n.Propose(binary.LittleEndian.AppendUint64(nil, c.proposed))
				c.flush(n, 0)
			}
		}
	case "deliver":
		c.deliver(args[0], args[1])
	case "drop":
		if c.linked(args[0], args[1]) {
			c.lose(args[0], args[1])
			c.meet(args[0], args[1])
		}
	case "cut":
		if c.links[args[0]][args[1]] {
			c.links[args[0]][args[1]], c.links[args[1]][args[0]] = false, false
			c.lose(args[0], args[1])
		}
	case "heal":
		if !c.links[args[0]][args[1]] {
			c.links[args[0]][args[1]], c.links[args[1]][args[0]] = true, true
			c.meet(args[0], args[1])
		}
	case "crash":
		if n.RawNode != nil {
			n.RawNode = nil
			for other := range c.nodes {
				if uint64(other) != n.id {
					c.lose(n.id, uint64(other))
				}
			}
		}
	case "restart":
		if n.RawNode == nil && !n.retired {
			n.start()
			for other := range c.nodes {
				if other != 0 && uint64(other) != n.id {
					c.meet(n.id, uint64(other))
				}
			}
		}
	case "check": // long enough passes at a leader to miss a majority that doesn't answer
		if n.leads() {
			for i := 0; i < 2 && n.leads(); i++ {
				c.settle()
				if !n.leads() {
					break
				}
				_ = n.Step(pb.Message{Type: pb.MsgCheckQuorum, From: local})
				c.flush(n, 0)
			}
			c.settle()
		}
	case "transfer":
		c.settle()
		if l := c.leader(); l != nil && l.id != n.id && c.linked(l.id, n.id) {
			if _, votes := l.Status().Config.Voters[0][n.id]; votes {
				l.TransferLeader(n.id)
				c.flush(l, 0)
				c.settle()
				if l.leads() {
					l.TransferLeader(l.id) // nobody waits for it any more
				} else {
					c.counters["transfers"]++
				}
			}
		}
	case "compact": // a node makes a snapshot and keeps no more than so many entries before it
		keep, err := strconv.ParseUint(words[2], 10, 64)
		must(err)
		c.compact(n, keep)
	case "tear": // it is gone before its snapshot is complete
		return c.do(fmt.Sprintf("crash %d", n.id))
	case "part": // the connection breaks amidst a snapshot
		c.part(args[0], args[1])
	case "conf":
		c.settle()
		c.change(words[1:])
	case "settle":
		c.settle()
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

// leader is the live leader of the latest term.
func (c *cluster) leader() (best *node) {
	for _, n := range c.nodes[1:] {
		if n.leads() && (best == nil || n.BasicStatus().Term > best.BasicStatus().Term) {
			best = n
		}
	}
	return best
}

// change makes a change of configuration, if it is valid and all voters before and after it are
// in reach of the leader; who takes no part any more is switched off for good.
func (c *cluster) change(words []string) {
	l := c.leader()
	if l == nil {
		return
	}
	cc := pb.ConfChangeV2{}
	for _, w := range words {
		id, err := strconv.ParseUint(w[1:], 10, 64)
		must(err)
		kind := map[byte]pb.ConfChangeType{'v': pb.ConfChangeAddNode,
			'l': pb.ConfChangeAddLearnerNode, 'r': pb.ConfChangeRemoveNode}[w[0]]
		cc.Changes = append(cc.Changes, pb.ConfChangeSingle{Type: kind, NodeID: id})
	}
	status := l.Status()
	before := status.Config
	after, progress, err := changer(status.Config, status.Progress).EnterJoint(true, cc.Changes...)
	if err != nil {
		c.counters["refused changes"]++
		return
	}
	moved := 0
	for id := range before.Voters.IDs() {
		if _, stays := after.Voters[0][id]; !stays {
			moved++
		}
	}
	for id := range after.Voters.IDs() {
		if _, was := before.Voters[0][id]; !was {
			moved++
		}
		if id != l.id && !c.linked(l.id, id) {
			return
		}
	}
	if moved <= 1 && len(words) > 1 {
		return // etcd's goes by way of a joint configuration, ours does it at once
	}
	if _, leads := after.Voters[0][l.id]; !leads {
		for id := range progress {
			if _, was := status.Progress[id]; !was {
				return // etcd's may step down before it has told the new node anything
			}
		}
	}
	var last tracker.ProgressMap
	if _, last, err = (confchange.Changer{LastIndex: 1, Tracker: tracker.ProgressTracker{
		Config: after, Progress: progress}}).LeaveJoint(); err != nil {
		panic(err)
	}
	must(l.ProposeConfChange(cc))
	c.counters["changes"]++
	c.flush(l, 0)
	c.settle()
	// A leader that removed itself steps down before all know what is committed. Ours go by the
	// new configuration anyhow; etcd's get these last words.
	told := l.BasicStatus()
	for _, n := range c.nodes[1:] {
		if id := n.id; last[id] != nil && id != l.id && !l.leads() && c.linked(l.id, id) {
			if b := n.BasicStatus(); b.Term == told.Term && b.Lead == l.id &&
				uint64(len(n.disk.sums)) > told.Commit {
				_ = n.Step(pb.Message{Type: pb.MsgHeartbeat, From: l.id, To: id, Term: b.Term,
					Commit: told.Commit})
				c.flush(n, 0)
				n.floor = n.BasicStatus().Commit
			}
		}
	}
	for _, n := range c.nodes[1:] {
		if _, was := status.Progress[n.id]; was && last[n.id] == nil {
			must(c.do(fmt.Sprintf("crash %d", n.id)))
			n.retired = true
		}
	}
	c.settle()
}

func changer(config tracker.Config, progress map[uint64]tracker.Progress) confchange.Changer {
	pointers := tracker.ProgressMap{}
	for id, p := range progress {
		pointers[id] = &p
	}
	return confchange.Changer{LastIndex: 1,
		Tracker: tracker.ProgressTracker{Config: config, Progress: pointers}}
}

// ---- what is compared ----------------------------------------------------------------------

type state struct {
	Up     bool      `json:"up"`
	Gone   bool      `json:"gone"` // removed from the configuration
	Term   uint64    `json:"term"`
	Vote   uint64    `json:"vote"`
	Role   string    `json:"role"`
	Leader uint64    `json:"leader"`
	Commit uint64    `json:"commit"`
	Floor  uint64    `json:"floor"` // ours may not know this commit index yet
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	Sum    uint32    `json:"sum"`
	Snap   [2]uint64 `json:"snap"` // index and term of its newest snapshot
	Held   uint64    `json:"held"` // how many commands are applied
	Conf   string    `json:"conf"`
	Log    []any     `json:"log,omitempty"`
}

var roles = map[raft.StateType]string{raft.StateFollower: "follower", raft.StateLeader: "leader",
	raft.StateCandidate: "candidate", raft.StatePreCandidate: "pre-candidate"}

func (c *cluster) states(verbose bool) (out []*state) {
	for _, n := range c.nodes[1:] {
		hs, _, _ := n.disk.InitialState()
		s := &state{Gone: n.retired, Term: hs.Term, Vote: hs.Vote, Commit: hs.Commit}
		s.First, _ = n.disk.FirstIndex()
		s.Last, _ = n.disk.LastIndex()
		s.Sum = n.disk.sums[s.Last]
		snapshot, _ := n.disk.Snapshot()
		s.Snap = [2]uint64{snapshot.Metadata.Index, snapshot.Metadata.Term}
		s.Held = n.disk.held
		if n.RawNode != nil {
			b := n.BasicStatus()
			s.Up, s.Term, s.Vote, s.Leader, s.Commit = true, b.Term, b.Vote, b.Lead, b.Commit
			s.Floor = n.floor
			s.Role = roles[b.RaftState]
			if n.void && b.RaftState == raft.StatePreCandidate {
				s.Role = "follower"
			}
			config := n.Status().Config
			if n.guest {
				if delete(config.Learners, n.id); len(config.Learners) == 0 {
					config.Learners = nil
				}
			}
			s.Conf = config.String()
		}
		if verbose {
			entries, _ := n.disk.Entries(s.First, s.Last+1, 1<<40)
			for i := range entries {
				kind, id := describe(&entries[i])
				s.Log = append(s.Log, [4]uint64{entries[i].Index, entries[i].Term, uint64(kind), id})
			}
		}
		out = append(out, s)
	}
	return out
}
