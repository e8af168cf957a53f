// Command matrix runs the suite on kernels, one machine each, and prints what
// came of it:
//
//	matrix -kernels quick
//	matrix -kernels all -readme README.md
//	matrix -kernels bare,arm64 -v
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"coracle/testkernel/kernels"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

// quick are the kernels of each change: what most have, what has least, and
// another architecture.
func quick() []string { return []string{"bookworm", "bare", "arm64"} }

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("matrix", flag.ContinueOnError)
	names := fs.String("kernels", "quick", "`names` joined by commas; quick, all, built, or nothing")
	as := fs.String("nosys", "", "run on this machine's kernel too, as if it were of these `versions`")
	readme := fs.String("readme", "", "write the table into this `file`, between its marks")
	fresh := fs.Bool("fresh", false, "run also what has passed before as it is")
	only := fs.String("packages", "", "run only the tests of packages with one of these `words` in their path, joined by commas")
	jobs := fs.Int("jobs", runtime.NumCPU(), "run so `many` machines at once")
	limit := fs.Duration("limit", 15*time.Minute, "kill a machine after this `time`, and one package's tests after a third of it")
	verbose := fs.Bool("v", false, "print the whole output of each machine")
	if err := fs.Parse(args); err != nil {
		return err
	}
	list, err := choose(*names)
	if err != nil {
		return err
	}
	m := &matrix{out: out, fresh: *fresh, verbose: *verbose, only: *only, limit: *limit, trees: map[string]*tree{}}
	defer func() {
		for _, t := range m.trees {
			t.remove()
		}
	}()
	var results []result
	for version := range strings.FieldsSeq(strings.ReplaceAll(*as, ",", " ")) {
		r := m.withheld(ctx, version)
		m.say(r)
		results = append(results, r)
	}
	booted, err := m.all(ctx, list, *jobs)
	if err != nil {
		return err
	}
	results = append(results, booted...)
	fmt.Fprint(out, "\n", text(results))
	if *readme != "" {
		if err := intoFile(*readme, markdown(results, *only, time.Now())); err != nil {
			return err
		}
	}
	var bad []string
	for _, r := range results {
		if len(r.Problems) > 0 {
			bad = append(bad, r.Kernel.Name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("not as it must be on %s", strings.Join(bad, ", "))
	}
	return nil
}

// choose finds kernels by name, in the order of the table.
func choose(names string) ([]kernels.Kernel, error) {
	if names == "" {
		return nil, nil
	}
	want := strings.Split(names, ",")
	if names == "quick" {
		want = quick()
	}
	var list []kernels.Kernel
	for _, k := range kernels.All() {
		if names == "all" || names == "built" && k.Built() || slices.Contains(want, k.Name) {
			list = append(list, k)
		}
	}
	if names == "all" || names == "built" {
		return list, nil
	}
	for _, name := range want {
		if _, err := kernels.Named(name, ""); err != nil {
			return nil, err
		}
	}
	return list, nil
}
