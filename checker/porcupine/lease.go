package main

import "encoding/binary"

// A lease is nothing, since when it is free, or who has it, the earliest and the latest moment
// since which, and for how long. Of an operation it is told who, for how long, when it was invoked,
// and when it ended (checker/leases.py).
func ofLease(role int8, told []int64, state string) []string {
	who, long, begun, ended := told[0], told[1], told[2], told[3]
	held := unpack(state)
	switch {
	case role == roleAcquire && len(held) == 1:
		begun = later(begun, held[0])
	case role == roleAcquire && len(held) == 4:
		begun = later(begun, held[1]+held[3])
	case role == roleAcquire:
	case len(held) != 4 || held[0] != who:
		return nil
	default:
		begun = later(begun, held[1])
		if end := held[2] + held[3]; end < ended {
			ended = end
		}
	}
	if begun > ended {
		return nil
	}
	if role == roleRelease {
		return []string{pack(begun)}
	}
	return []string{pack(who) + pack(begun) + pack(ended) + pack(long)}
}

func later(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}

func unpack(state string) []int64 {
	numbers := make([]int64, len(state)/8)
	for i := range numbers {
		numbers[i] = int64(binary.BigEndian.Uint64([]byte(state[8*i:8*i+8])) ^ (1 << 63))
	}
	return numbers
}

// told returns what a list of numbers holds.
func (v values) told(token int64) []int64 {
	i := token - firstObject
	if token < firstObject || v.shape[i] != list {
		return nil
	}
	return v.symbols[v.pathStart[i]:v.pathStart[i+1]]
}
