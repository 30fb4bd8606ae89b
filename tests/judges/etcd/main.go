// The judge's side of the differential test against etcd's Raft: reads schedules from stdin, one
// JSON object a line, runs each on a fresh cluster of RawNodes, and answers with one line: what
// every node held at every quiescent point. tests/judges/ours.py runs the same commands on
// Seatrial's replicas; docs/judges.md says where the two differ and how that is bridged.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
)

type schedule struct {
	Nodes   int      `json:"nodes"`   // ids 1..nodes exist
	Voters  int      `json:"voters"`  // ids 1..voters are the first configuration
	Steps   []string `json:"steps"`   // "campaign 1", "cut 1 2", ...
	Verbose bool     `json:"verbose"` // whole logs with every point
}

type answer struct {
	Points   [][]*state     `json:"points"`
	Counters map[string]int `json:"counters"`
	Error    string         `json:"error,omitempty"`
}

func run(s schedule) (a answer) {
	c := newCluster(s.Nodes, s.Voters)
	defer func() {
		a.Counters = c.counters
		if p := recover(); p != nil {
			a.Error = fmt.Sprint(p)
			if s.Verbose {
				a.Error += "\n" + string(debug.Stack())
			}
		}
	}()
	for at, step := range s.Steps {
		if err := c.do(step); err != nil {
			a.Error = fmt.Sprintf("step %d, %q: %v", at+1, step, err)
			return a
		}
		if c.quiescent {
			a.Points = append(a.Points, c.states(s.Verbose))
		}
	}
	return a
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var s schedule
		if err := decoder.Decode(&s); err != nil {
			fmt.Fprintln(os.Stderr, "not a schedule:", err)
			os.Exit(1)
		}
		if err := encoder.Encode(run(s)); err != nil {
			os.Exit(1)
		}
		out.Flush()
	}
}
