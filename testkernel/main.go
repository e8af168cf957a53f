// Command testkernel runs a test binary on another kernel than this machine's,
// as go test's -exec wrapper:
//
//	go test -exec 'testkernel -nosys 2.6.32' ./fs/...
//	go test -exec 'testkernel -kernel bookworm' ./probe
//	go test -exec 'testkernel -kernel-image /boot/vmlinuz-2.6.32' ./probe
//
// -nosys takes away, on the running kernel, what an older one did not have;
// -kernel and -kernel-image boot a kernel in QEMU.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"coracle/probe/probetest"
	"coracle/testkernel/findings"
	"coracle/testkernel/guest"
	"coracle/testkernel/kernels"
	"coracle/testkernel/nosys"
)

func main() {
	if os.Getpid() == 1 && os.Args[0] == "/init" {
		guest.Main()
	}
	if os.Args[0] == "/init" && len(os.Args) == 2 && os.Args[1] == "report" {
		guest.Report()
	}
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkernel:", err)
	}
	os.Exit(code)
}

// errUsage is an error in the command line.
var errUsage = errors.New("usage: testkernel -nosys VERSION | -kernel NAME | -kernel-image FILE PROGRAM [ARG…]")

// codeFailed is the exit code where the program could not be run at all: one
// that a test binary does not use.
const codeFailed = 125

func run(args []string, stdout, stderr io.Writer) (int, error) {
	var f bootFlags
	fs := flag.NewFlagSet("testkernel", flag.ContinueOnError)
	fs.SetOutput(stderr)
	as := fs.String("nosys", "", "answer as a kernel of this `version` would, 2.6.32 or later")
	fs.StringVar(&f.image, "kernel-image", "", "boot the kernel in this `file`")
	fs.StringVar(&f.name, "kernel", "", "boot the kernel of this `name`; -list lists them")
	fs.StringVar(&f.initrd, "initrd-dir", "", "put the tree below this `directory` into the machine")
	fs.StringVar(&f.append, "append", "", "`words` to add to the kernel's command line")
	fs.StringVar(&f.handover, "handover", "", "let this `program` of the tree be process 1; it must have '/init report' run")
	fs.IntVar(&f.memory, "m", 1024, "memory of the machine in `MiB`")
	fs.DurationVar(&f.timeout, "timeout", 2*time.Minute, "kill the machine after this `time`")
	get := fs.String("get", "", "only download or build the kernels of these `names`, joined by commas; all, or built, for those built from source")
	list := fs.Bool("list", false, "list the kernels that -kernel knows")
	verbose := fs.Bool("v", false, "say what is withheld and what cannot be, or show the machine's console")
	if err := fs.Parse(args); err != nil {
		return 2, nil // flag has said it
	}
	if *list {
		for _, k := range kernels.All() {
			fmt.Fprintf(stdout, "%-14s %-6s %s\n", k.Name, k.Arch, k.What)
		}
		return 0, nil
	}
	if *get != "" {
		return codeOf(fetch(*get, stdout))
	}
	ways := 0
	for _, s := range []string{*as, f.image, f.name} {
		if s != "" {
			ways++
		}
	}
	if ways != 1 || fs.NArg() == 0 {
		return 2, errUsage
	}
	if err := f.check(); err != nil {
		return 2, err
	}
	var trace func(string, ...any)
	if *verbose {
		trace = func(format string, args ...any) { fmt.Fprintf(stderr, "testkernel: "+format+"\n", args...) }
	}
	if *as == "" {
		return boot(&f, fs.Args(), stdout, stderr, trace)
	}
	return withhold(*as, fs.Args(), trace)
}

// fetch gets kernels into the cache.
func fetch(names string, log io.Writer) error {
	for name := range strings.SplitSeq(names, ",") {
		var list []kernels.Kernel
		for _, k := range kernels.All() {
			if name == "all" || name == "built" && k.Built() {
				list = append(list, k)
			}
		}
		if list == nil {
			k, err := kernels.Named(name, runtime.GOARCH)
			if err != nil {
				return err
			}
			list = []kernels.Kernel{k}
		}
		for _, k := range list {
			if _, err := kernels.Get(k, log); err != nil {
				return err
			}
		}
	}
	return nil
}

func codeOf(err error) (int, error) {
	if err != nil {
		return codeFailed, err
	}
	return 0, nil
}

// withhold runs args as on a kernel of version.
func withhold(version string, args []string, trace func(string, ...any)) (int, error) {
	v, err := nosys.ParseVersion(version)
	if err != nil {
		return 2, err
	}
	if v.Less(nosys.Floor()) {
		return 2, fmt.Errorf("kernel version %s: nothing older than %s is known", v, nosys.Floor())
	}
	name := findings.Nosys + v.String()
	known, err := findings.Known(name)
	if err != nil {
		return codeFailed, err
	}
	os.Setenv(findings.NameEnv, name)
	os.Setenv(probetest.KnownEnv, known)
	code, err := nosys.Run(nosys.Config{Version: v, Args: args, Trace: trace})
	if err != nil {
		return codeFailed, err
	}
	return code, nil
}
