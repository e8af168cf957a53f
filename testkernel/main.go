// Command testkernel runs a test binary on another kernel than this machine's,
// as go test's -exec wrapper:
//
//	go test -exec 'testkernel -nosys 2.6.32' ./fs/...
//
// -nosys takes away, on the running kernel, what an older one did not have.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"coracle/testkernel/nosys"
)

func main() {
	code, err := run(os.Args[1:], os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkernel:", err)
	}
	os.Exit(code)
}

// errUsage is an error in the command line.
var errUsage = errors.New("usage: testkernel -nosys VERSION PROGRAM [ARG…]")

// codeFailed is the exit code where the program could not be run at all: one
// that a test binary does not use.
const codeFailed = 125

func run(args []string, stderr io.Writer) (int, error) {
	fs := flag.NewFlagSet("testkernel", flag.ContinueOnError)
	fs.SetOutput(stderr)
	as := fs.String("nosys", "", "answer as a kernel of this `version` would, 2.6.32 or later")
	verbose := fs.Bool("v", false, "say what is withheld, and what cannot be")
	if err := fs.Parse(args); err != nil {
		return 2, nil // flag has said it
	}
	if *as == "" || fs.NArg() == 0 {
		return 2, errUsage
	}
	v, err := nosys.ParseVersion(*as)
	if err != nil {
		return 2, err
	}
	if v.Less(nosys.Floor()) {
		return 2, fmt.Errorf("kernel version %s: nothing older than %s is known", v, nosys.Floor())
	}
	c := nosys.Config{Version: v, Args: fs.Args()}
	if *verbose {
		c.Trace = func(format string, args ...any) {
			fmt.Fprintf(stderr, "testkernel: "+format+"\n", args...)
		}
	}
	code, err := nosys.Run(c)
	if err != nil {
		return codeFailed, err
	}
	return code, nil
}
