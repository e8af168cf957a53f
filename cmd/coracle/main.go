// The runtime does not follow our own control group's CPU limit: each monitor would
// keep its two files open and read them again and again, and none computes for long.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command coracle runs containers on any Linux: see package command.
package main

import (
	"context"
	"os"
	"path/filepath"

	"coracle/backends/isolate/inside"
	"coracle/backends/isolate/stage"
	"coracle/cmd/coracle/command"
	"coracle/cmd/coracle/compose"
	"coracle/engine"
	"coracle/engine/changes"
)

func main() {
	if len(os.Args) == 0 {
		os.Exit(125)
	}
	// The same file serves as a container's first process, as a detached
	// monitor and as the userland of the image box. Those names are only ever
	// given by us, so they come before anything else is looked at.
	switch name := os.Args[0]; name {
	case stage.Name:
		stage.Main()
		return
	case inside.Name:
		os.Exit(inside.Main())
	case engine.MonitorName:
		os.Exit(engine.MonitorMain(os.Args))
	case engine.FileOpName:
		os.Exit(engine.FileOpMain())
	case compose.TetherName:
		os.Exit(compose.TetherMain(os.Stdin))
	case changes.Name:
		os.Exit(changes.Main())
	default:
		if code, ok := hidden(filepath.Base(name), os.Args); ok {
			os.Exit(code)
		}
	}
	stdio := command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(command.Run(context.Background(), stdio, os.Args))
}
