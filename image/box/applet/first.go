package applet

import (
	"os"
	"os/signal"
	"syscall"
)

// defendFirst gives the first process of a container the signals that any
// other has. The kernel delivers no signal to PID 1 whose action is the
// default (pid_namespaces(7)), and Go's runtime answers such a TERM with
// exit(2); so without this `stop` would wait in vain for a sleep or an httpd.
// SIGQUIT is taken everywhere: Go's default prints all stacks.
func defendFirst(name string) {
	if name == "sh" {
		return // has its own rules
	}
	ch := make(chan os.Signal, 1)
	if os.Getpid() == 1 {
		signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	} else {
		signal.Notify(ch, syscall.SIGQUIT)
	}
	go func() {
		sig, _ := (<-ch).(syscall.Signal)
		os.Exit(128 + int(sig))
	}()
}
