package main

import (
	"fmt"
	"os"
)

var tracing = os.Getenv("JUDGE_TRACE") != ""

func trace(f string, v ...any) {
	if tracing {
		fmt.Fprintf(os.Stderr, f+"\n", v...)
	}
}
