// Package main is a C archive that judges keys with porcupine, as an oracle that shares no code
// with the checker's own search. It is called in a process of its own (a Go runtime does not
// survive fork, and its memory has to be limited from outside).
package main

// #include <stdint.h>
import "C"

import (
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/anishathalye/porcupine"
)

const module = "github.com/anishathalye/porcupine"

// most is the length of the array types below: slices without a length limit of their own.
const most = 1 << 30

func int64s(p *C.int64_t, n int64) []int64 {
	if n == 0 {
		return nil
	}
	return (*[most]int64)(unsafe.Pointer(p))[:n:n]
}

func int8s(p *C.int8_t, n int64) []int8 {
	if n == 0 {
		return nil
	}
	return (*[most]int8)(unsafe.Pointer(p))[:n:n]
}

// seatrial_porcupine_key judges one key: 0 linearizable, 1 not, 2 out of time.
//
// The columns are those of checker/operations.py. timeout_ns > 0 is for this key.
//
//export seatrial_porcupine_key
func seatrial_porcupine_key(
	n C.int64_t, kind *C.int8_t, a, b, inv, ret *C.int64_t, mode C.uint8_t,
	objects C.int64_t, shape *C.int8_t, pathStart, symbols *C.int64_t,
	initial, timeout C.int64_t,
) C.int {
	count := int64(n)
	table := values{shape: int8s(shape, int64(objects)), pathStart: int64s(pathStart, int64(objects)+1)}
	table.symbols = int64s(symbols, table.pathStart[objects])
	roles, as, bs := int8s(kind, count), int64s(a, count), int64s(b, count)
	calls, returns := int64s(inv, count), int64s(ret, count)
	history := make([]porcupine.Operation, count)
	for i := range history {
		history[i].Call, history[i].Return = calls[i], returns[i]
		switch {
		case mode >= elements:
			history[i].Input = element{
				roles[i] &^ crashed, as[i], table.set(as[i]), table.told(as[i]), roles[i]&crashed != 0}
		case mode == plain:
			history[i].Input = number{roles[i], as[i], bs[i]}
		default:
			history[i].Input = grown{
				roles[i], table.path(as[i], uint8(mode)), table.path(bs[i], uint8(mode))}
		}
	}
	model := numberModel(int64(initial))
	if mode >= elements {
		model = elementModel(family(mode-elements), int64(initial))
	} else if mode != plain {
		model = grownModel(table.path(int64(initial), uint8(mode)))
	}
	switch porcupine.CheckOperationsTimeout(model, history, time.Duration(timeout)) {
	case porcupine.Ok:
		return 0
	case porcupine.Illegal:
		return 1
	default:
		return 2
	}
}

// seatrial_porcupine_version copies the module's version into a buffer and returns its length.
//
//export seatrial_porcupine_version
func seatrial_porcupine_version(buffer *C.char, room C.int) C.int {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				version = dependency.Version
			}
		}
	}
	return C.int(copy((*[most]byte)(unsafe.Pointer(buffer))[:room:room], version))
}

func main() {}
