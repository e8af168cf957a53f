package backends

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"coracle/probe"
)

// ErrRung is the sentinel of every *WishError.
var ErrRung = errors.New("backend cannot be had")

// WishError says that what the user asked for by name cannot be had.
type WishError struct {
	Concern Concern
	Rung    string
	Why     string
	Mend    string        // what would make it work; may be empty
	Feature probe.Feature // what was found not to work; empty where it is not that
}

func (e *WishError) Error() string {
	return fmt.Sprintf("backend %s=%s: %s", e.Concern, e.Rung, e.Why)
}

// Unwrap gives ErrRung.
func (e *WishError) Unwrap() error { return ErrRung }

// ParseWish reads "rootfs=copy,isolation=chroot": CONCERN=RUNG, separated by
// commas; spaces and empty parts are passed over. Names are checked against
// the list of rungs.
func ParseWish(s string) (Wish, error) {
	w := Wish{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, rung, ok := strings.Cut(part, "=")
		c, rung := Concern(strings.TrimSpace(name)), strings.TrimSpace(rung)
		if !ok || rung == "" {
			return nil, fmt.Errorf("invalid backend %q: want CONCERN=RUNG", part)
		}
		if had, twice := w[c]; twice && had != rung {
			return nil, fmt.Errorf("invalid backend %q: %s was already given as %s", part, c, had)
		}
		w[c] = rung
	}
	if err := w.check(All()); err != nil {
		return nil, err
	}
	return w, nil
}

// MergeWish reads CORACLE_BACKEND's value and the flags' in order. Of one
// concern, a flag overrides the environment, and a later flag an earlier one.
func MergeWish(env string, flags ...string) (Wish, error) {
	out, err := ParseWish(env)
	if err != nil {
		return nil, fmt.Errorf("CORACLE_BACKEND: %w", err)
	}
	for _, f := range flags {
		w, err := ParseWish(f)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, w)
	}
	return out, nil
}

// check finds concerns and rungs that do not exist.
func (w Wish) check(all []Rung) error {
	for _, c := range slices.Sorted(maps.Keys(w)) {
		if !slices.Contains(Concerns(), c) {
			return &WishError{Concern: c, Rung: w[c], Why: "no such concern; known are " + concernNames()}
		}
		var known []string
		for _, rung := range all {
			if rung.Concern == c && !slices.Contains(known, rung.Name) {
				known = append(known, rung.Name)
			}
		}
		if !slices.ContainsFunc(all, func(r Rung) bool { return r.Concern == c && r.meant(w[c], all) }) {
			return &WishError{Concern: c, Rung: w[c], Why: "no such backend; known are " + strings.Join(known, ", ")}
		}
	}
	return nil
}

func concernNames() string {
	var names []string
	for _, c := range Concerns() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

// wishRefused makes an error of the refusals of all entries of one name.
func wishRefused(c Concern, rung string, refused []Refusal) *WishError {
	e := &WishError{Concern: c, Rung: rung, Why: "no such backend"}
	if list := tidy(Choice{Refused: refused}); len(list) > 0 {
		e.Why, e.Mend, e.Feature = list[0].Why, list[0].Mend, list[0].Feature
		if f := list[0].Feature; f != "" {
			e.Why += " [" + string(f) + "]"
		}
	}
	return e
}
