package applet

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Calls that mark puts into a script. No command has such a name.
const (
	callFork   = "box:fork"   // a job is about to start: give it a number
	callForked = "box:forked" // it has started; the argument is its $!
	callSub    = "box:sub"    // a subshell begins
	callEnd    = "box:end"    // the script has ended
	varJob     = "__box_job"  // number of the job that a command runs in
	varSub     = "__box_sub"  // set in subshells
)

// subshells puts the last command of a pipeline into a subshell, as dash and
// busybox do: the interpreter would run it in the shell itself, and an exit or
// exec there would be the shell's.
func subshells(f *syntax.File) {
	syntax.Walk(f, func(n syntax.Node) bool {
		if b, ok := n.(*syntax.BinaryCmd); ok && (b.Op == syntax.Pipe || b.Op == syntax.PipeAll) {
			b.Y = &syntax.Stmt{Position: b.Y.Position, Cmd: &syntax.Subshell{Lparen: b.Y.Position, Rparen: b.Y.End(), Stmts: []*syntax.Stmt{b.Y}}}
		}
		return true
	})
}

// mark rewrites f so that the handlers can tell which job a command runs in
// and whether it is in a subshell, where traps do not run: the interpreter
// does not tell them. Variables carry it, since a subshell inherits those.
func mark(f *syntax.File) {
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			if n.Background && !isMarked(n) {
				markJob(n)
			}
		case *syntax.Subshell:
			n.Stmts = append([]*syntax.Stmt{parseStmt(callSub)}, n.Stmts...)
		case *syntax.CmdSubst:
			n.Stmts = append([]*syntax.Stmt{parseStmt(callSub)}, n.Stmts...)
		case *syntax.BinaryCmd:
			if n.Op == syntax.Pipe || n.Op == syntax.PipeAll {
				n.X = markSub(n.X)
			}
		}
		return true
	})
}

// isMarked: the inner statement of markJob, met again by the walk.
func isMarked(st *syntax.Stmt) bool {
	_, ok := st.Cmd.(*syntax.Block)
	return ok && len(st.Comments) == 1 && st.Comments[0].Text == callFork
}

// markJob turns "X &" into "{ fork; { X; } & forked $!; }".
func markJob(st *syntax.Stmt) {
	inner := *st
	inner.Background = false
	bg := &syntax.Stmt{Background: true, Position: st.Position, Semicolon: st.Semicolon,
		Comments: []syntax.Comment{{Text: callFork}},
		Cmd:      &syntax.Block{Stmts: []*syntax.Stmt{&inner}}}
	*st = syntax.Stmt{Position: st.Position, Cmd: &syntax.Block{Stmts: []*syntax.Stmt{
		parseStmt(callFork), bg, parseStmt(callForked + ` "$!"`)}}}
}

func markSub(st *syntax.Stmt) *syntax.Stmt {
	return &syntax.Stmt{Position: st.Position, Cmd: &syntax.Block{Stmts: []*syntax.Stmt{parseStmt(callSub), st}}}
}

func parseStmt(src string) *syntax.Stmt {
	f, err := syntax.NewParser().Parse(strings.NewReader(src), "")
	if err != nil {
		panic(err) // ours
	}
	return f.Stmts[0]
}

// nameShell puts name in place of $0, which the interpreter knows only for
// files.
func nameShell(f *syntax.File, name string) {
	syntax.Walk(f, func(n syntax.Node) bool {
		if w, ok := n.(*syntax.Word); ok {
			nameParts(w.Parts, name)
		}
		if q, ok := n.(*syntax.DblQuoted); ok {
			nameParts(q.Parts, name)
		}
		return true
	})
}

func nameParts(parts []syntax.WordPart, name string) {
	for i, p := range parts {
		pe, ok := p.(*syntax.ParamExp)
		if ok && pe.Param != nil && pe.Param.Value == "0" && pe.Exp == nil && pe.Repl == nil && pe.Slice == nil && !pe.Length {
			parts[i] = &syntax.SglQuoted{Left: pe.Pos(), Right: pe.Pos(), Value: name}
		}
	}
}
