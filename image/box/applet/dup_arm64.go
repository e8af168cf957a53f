package applet

import "golang.org/x/sys/unix"

// arm64 has no dup2; dup3 is as old as the port.
func dup2(from, to int) error { return unix.Dup3(from, to, 0) }
