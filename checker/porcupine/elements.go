package main

import (
	"encoding/binary"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// elements is added to a family (checker/models.py) where other keys have their mode, and crashed
// to the role of an operation that never returned: placed where it can't be, it does nothing.
const (
	elements = 16
	crashed  = 64
	anything = nilToken + 2
)

type family uint8

const (
	fifo = 1 + family(iota)
	bag
	stack
	priority
	set
	mutex
	ownedMutex
	counter
	lease = counter + 2
)

const (
	roleAdd = 6 + iota
	roleTake
	rolePeek
	roleRemove
	roleHas
	roleLacks
	roleAll
	roleAcquire
	roleRelease
	roleIncrease
	roleCount
)

// element is an operation; all is the set, and told the numbers, of which “a“ is the token, where
// it is one.
type element struct {
	role    int8
	a       int64
	all     string
	told    []int64
	crashed bool
}

// A state is the elements as a string, eight bytes each (big-endian, so that sorted stays sorted).
func pack(x int64) string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(x)^(1<<63))
	return string(raw[:])
}

func sorted(state string, x string) int {
	return 8 * sort.Search(len(state)/8, func(i int) bool { return state[8*i:8*i+8] >= x })
}

func insert(state string, at int, x string) string { return state[:at] + x + state[at:] }

func cut(state string, at int) string { return state[:at] + state[at+8:] }

func elementModel(f family, initial int64) porcupine.Model {
	start := ""
	if f == counter {
		if initial == nilToken {
			initial = 0
		}
		start = pack(initial)
	}
	model := porcupine.NondeterministicModel{
		Init: func() []interface{} { return []interface{}{start} },
		Step: func(state, input, output interface{}) []interface{} {
			op := input.(element)
			var after []interface{}
			for _, next := range outcomes(f, op, state.(string)) {
				after = append(after, next)
			}
			if len(after) == 0 && op.crashed {
				after = append(after, state)
			}
			return after
		},
		Equal: func(a, b interface{}) bool { return a == b },
	}
	return model.ToModel()
}

func outcomes(f family, op element, state string) []string {
	x := pack(op.a)
	switch f {
	case fifo, stack, priority, bag:
		return ofElements(f, op, x, state)
	case set:
		return ofSet(op, x, state)
	case lease:
		return ofLease(op.role, op.told, state)
	case counter:
		now := int64(binary.BigEndian.Uint64([]byte(state)) ^ (1 << 63))
		if op.role == roleIncrease {
			return []string{pack(now + op.a)}
		}
		return when(now == op.a, state)
	default:
		if op.role == roleAcquire {
			return when(state == "", x)
		}
		return when(state == x, "")
	}
}

func when(fits bool, state string) []string {
	if fits {
		return []string{state}
	}
	return nil
}

func ofElements(f family, op element, x, state string) []string {
	if op.role == roleAdd {
		at := len(state)
		if f == priority || f == bag {
			at = sorted(state, x)
		}
		return []string{insert(state, at, x)}
	}
	if op.a == nilToken {
		return when(state == "", state)
	}
	var after []string
	for at := 0; at < len(state); at += 8 {
		next := f == bag || (f == fifo && at == 0) || (f != fifo && at == len(state)-8)
		if next && (op.a == anything || state[at:at+8] == x) {
			if op.role == rolePeek {
				return []string{state}
			}
			after = append(after, cut(state, at))
		}
	}
	return after
}

func ofSet(op element, x, state string) []string {
	at := sorted(state, x)
	inside := strings.HasPrefix(state[at:], x)
	switch op.role {
	case roleAdd:
		if !inside {
			state = insert(state, at, x)
		}
	case roleRemove:
		if inside {
			state = cut(state, at)
		}
	case roleHas:
		return when(inside, state)
	case roleLacks:
		return when(!inside, state)
	default:
		return when(state == op.all, state)
	}
	return []string{state}
}

// set returns the elements of a list as a state, and nothing for what is no list.
func (v values) set(token int64) string {
	i := token - firstObject
	if token < firstObject || v.shape[i] != list {
		return ""
	}
	state := ""
	for _, symbol := range v.symbols[v.pathStart[i]:v.pathStart[i+1]] {
		x := pack(symbol)
		if at := sorted(state, x); !strings.HasPrefix(state[at:], x) {
			state = insert(state, at, x)
		}
	}
	return state
}
