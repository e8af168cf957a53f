// Command crossbuild makes the files of a release: a static binary for each kind
// of machine, with archives, packages, bills of materials and check sums. Each
// binary is inspected and runs a container, under emulation where it must. With
// -twice all of it is made a second time, at another path and with an empty
// cache, and compared byte by byte. `make dist` calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"coracle/crossbuild/compile"
	"coracle/crossbuild/inspect"
	"coracle/crossbuild/pack"
	"coracle/crossbuild/proof"
	"coracle/crossbuild/target"
)

type options struct {
	tree, dir, only         string
	version, tags, ldflags  string
	epoch                   int64
	twice, prove, listTable bool
}

func main() {
	if os.Args[0] == proof.Name {
		os.Exit(proof.Inside(os.Args[1:]))
	}
	var o options
	flag.StringVar(&o.tree, "tree", ".", "the sources")
	flag.StringVar(&o.dir, "dir", "dist", "where the files go; what was there is replaced")
	flag.StringVar(&o.only, "only", "", "targets to make, by name with commas between (default all)")
	flag.StringVar(&o.version, "version", "dev", "the release's name")
	flag.StringVar(&o.tags, "tags", "", "build tags")
	flag.StringVar(&o.ldflags, "ldflags", "-s -w", "flags for the linker")
	flag.Int64Var(&o.epoch, "epoch", 0, "time of all files, in seconds since 1970 (SOURCE_DATE_EPOCH)")
	flag.BoolVar(&o.twice, "twice", false, "make all of it twice and compare")
	flag.BoolVar(&o.prove, "prove", true, "run a container with each binary")
	flag.BoolVar(&o.listTable, "table", false, "print the table of targets for the README, make nothing")
	flag.Parse()
	if o.listTable {
		fmt.Print(target.Table())
		return
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "crossbuild: unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	// An interrupted run removes what it has in its temporary directory.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "crossbuild:", err)
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context) error {
	var names []string
	if o.only != "" {
		names = strings.Split(o.only, ",")
	}
	targets, err := target.Pick(names)
	if err != nil {
		return err
	}
	if o.prove {
		if err := provable(targets); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp("", "coracle-crossbuild-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// Both are made from the same copy, even if somebody works on the tree.
	first := filepath.Join(work, "tree")
	if err := compile.Copy(ctx, o.tree, first); err != nil {
		return err
	}
	out := filepath.Join(work, "out")
	if err := o.make(ctx, first, "", out, targets); err != nil {
		return err
	}
	if o.twice {
		if err := o.again(ctx, first, out, work, targets); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := o.examine(ctx, filepath.Join(out, t.File()), t); err != nil {
			return err
		}
	}
	return deliver(out, o.dir)
}

// provable says before all the work what will be missing at its end.
func provable(targets []target.Target) error {
	for _, t := range targets {
		if proof.Native(t) {
			continue
		}
		if _, err := proof.Emulator(t); err != nil {
			return err
		}
	}
	return nil
}

// make makes all files in out from the tree.
func (o options) make(ctx context.Context, tree, cache, out string, targets []target.Target) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	c := compile.Tree{Dir: tree, Cache: cache, Tags: o.tags, LDFlags: o.ldflags}
	host, stage := tree+"-host", tree+"-stage"
	if err := c.BuildHost(ctx, host); err != nil {
		return err
	}
	if err := pack.NewStage(host, stage); err != nil {
		return err
	}
	release := pack.Release{Version: o.version, Time: time.Unix(o.epoch, 0).UTC(), Tree: tree, Stage: stage, Dir: out}
	for _, t := range targets {
		began := time.Now()
		if err := c.Build(ctx, t, filepath.Join(out, t.File())); err != nil {
			return err
		}
		if err := release.Make(t); err != nil {
			return err
		}
		fmt.Printf("%-28s made in %.1f s\n", t.File(), time.Since(began).Seconds())
	}
	return pack.Sums(out)
}

// again makes all of it a second time: another path, another length of path, an
// empty cache, another umask's worth of file modes, and compares the sums.
func (o options) again(ctx context.Context, first, out, work string, targets []target.Target) error {
	second := filepath.Join(work, "another", "place", "of-another-length")
	if err := copyTree(first, second); err != nil {
		return err
	}
	other := filepath.Join(work, "out-again")
	if err := o.make(ctx, second, filepath.Join(work, "cache"), other, targets); err != nil {
		return err
	}
	a, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(other, "SHA256SUMS"))
	if err != nil {
		return err
	}
	if differ := difference(string(a), string(b)); len(differ) > 0 {
		return fmt.Errorf("not reproducible, made twice and differing: %s", strings.Join(differ, " "))
	}
	fmt.Printf("made twice, at two paths and with two caches: %d files, the same bytes\n", strings.Count(string(a), "\n"))
	return nil
}

// copyTree copies a tree that git does not know.
func copyTree(from, to string) error {
	return os.CopyFS(to, os.DirFS(from))
}

// difference names the files whose sums differ, or that only one has.
func difference(a, b string) []string {
	sums := map[string]string{}
	for line := range strings.Lines(a) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
	}
	var names []string
	for line := range strings.Lines(b) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if sums[name] != sum {
			names = append(names, name)
		}
		delete(sums, name)
	}
	for name := range sums {
		names = append(names, name)
	}
	return names
}

// examine inspects the binary and runs a container with it.
func (o options) examine(ctx context.Context, binary string, t target.Target) error {
	if err := inspect.Check(binary, t); err != nil {
		return err
	}
	fi, err := os.Stat(binary)
	if err != nil {
		return err
	}
	said := fmt.Sprintf("%-28s static, stripped, %.1f MB", t.File(), float64(fi.Size())/1e6)
	if o.prove {
		r, err := proof.Run(ctx, binary, t)
		if err != nil {
			return err
		}
		said += fmt.Sprintf("; runs box %s (%.1f s)", r.How, r.Took.Seconds())
	}
	fmt.Println(said)
	return nil
}

// deliver puts the finished files in place of those of an earlier run.
func deliver(out, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		// Only what is called as ours are: the directory may hold more.
		if strings.HasPrefix(e.Name(), "coracle") || e.Name() == "SHA256SUMS" {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	made, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range made {
		if err := move(filepath.Join(out, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// move renames, and copies where another filesystem is in between.
func move(from, to string) error {
	err := os.Rename(from, to)
	var link *os.LinkError
	if !errors.As(err, &link) {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	fi, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, fi.Mode().Perm())
}
