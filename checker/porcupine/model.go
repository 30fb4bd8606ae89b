package main

import (
	"encoding/binary"

	"github.com/anishathalye/porcupine"
)

// Roles of operations, as in checker/models.py. A crashed CAS has a role of its own, since
// porcupine places every operation at some time: placed where its value is not, it does nothing.
const (
	roleRead = iota
	roleNot
	roleWrite
	roleCas
	roleAppend
	roleCrashedCas
)

// How a key is appended to, as in checker/operations.py.
const (
	plain = iota
	appendsElements
	appendsText
)

// Shapes of the values that are no integers.
const (
	scalar = iota
	list
	text
)

const (
	nilToken    = -1 << 63
	firstObject = 1 << 62
)

// number is an operation on a key whose values are only compared, and text one on a key whose
// values are appended to; there a value is the string of its symbols, eight bytes each.
type number struct {
	role int8
	a, b int64
}

type grown struct {
	role int8
	a, b string
}

func numberModel(initial int64) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return initial },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			value, op := state.(int64), input.(number)
			switch op.role {
			case roleRead:
				return value == op.a, value
			case roleNot:
				return value != op.a, value
			case roleWrite:
				return true, op.a
			case roleCrashedCas:
				if value != op.a {
					return true, value
				}
				return true, op.b
			default:
				return value == op.a, op.b
			}
		},
		Hash: func(state interface{}) uint64 {
			return uint64(state.(int64)) * 0x9E3779B97F4A7C15
		},
	}
}

func grownModel(initial string) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return initial },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			value, op := state.(string), input.(grown)
			switch op.role {
			case roleRead:
				return value == op.a, value
			case roleNot:
				return value != op.a, value
			case roleWrite:
				return true, op.a
			case roleCas:
				return value == op.a, op.b
			case roleCrashedCas:
				if value != op.a {
					return true, value
				}
				return true, op.b
			default:
				return true, value + op.a
			}
		},
	}
}

// values turns tokens into strings of symbols.
type values struct {
	shape     []int8
	pathStart []int64
	symbols   []int64
}

func (v values) path(token int64, mode uint8) string {
	symbols := []int64{token}
	if token == nilToken {
		symbols = nil
	} else if i := token - firstObject; i >= 0 {
		if v.shape[i] == list || (mode == appendsText && v.shape[i] == text) {
			symbols = v.symbols[v.pathStart[i]:v.pathStart[i+1]]
		}
	}
	raw := make([]byte, 8*len(symbols))
	for i, symbol := range symbols {
		binary.LittleEndian.PutUint64(raw[8*i:], uint64(symbol))
	}
	return string(raw)
}
