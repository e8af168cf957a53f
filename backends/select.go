package backends

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/probe"
)

// ErrNoRung says that nothing serves a concern here; see [Selection.Usable].
var ErrNoRung = errors.New("no way works here")

// Select takes the best rung of each concern. It depends on nothing but its
// arguments.
//
// A wish that cannot be granted is a *[WishError]; another rung is never put in
// its place. A concern that no rung serves is no error, as its evidence is
// wanted by who asks what works: its Choice has an empty Rung.
func Select(r *probe.Report, w Wish) (*Selection, error) {
	return choose(All(), r, w)
}

func choose(all []Rung, r *probe.Report, w Wish) (*Selection, error) {
	if err := w.check(all); err != nil {
		return nil, err
	}
	s := &Selection{}
	for _, c := range Concerns() {
		ch := Choice{Concern: c}
		asked, isAsked := w[c]
		for _, rung := range all {
			if rung.Concern != c || (isAsked && !rung.meant(asked, all)) {
				continue
			}
			if ref := refuse(rung, r, s); ref != nil {
				ch.Refused = append(ch.Refused, *ref)
				continue
			}
			ch.Rung, ch.Asked, ch.Gives = rung.Name, isAsked, rung.Gives
			ch.Lacks = lacks(rung, r)
			break
		}
		if isAsked && ch.Rung == "" {
			return nil, wishRefused(c, asked, ch.Refused)
		}
		ch.Refused = tidy(ch)
		s.Choices = append(s.Choices, ch)
	}
	return s, nil
}

// meant tells whether a rung is the one asked for, or one of several of a kind
// (bridge: bridge-nft, bridge-iptables, bridge-forward), of which the best is taken.
func (r *Rung) meant(asked string, all []Rung) bool {
	if r.Name == asked || !strings.HasPrefix(r.Name, asked+"-") {
		return r.Name == asked
	}
	return !slices.ContainsFunc(all, func(o Rung) bool { return o.Concern == r.Concern && o.Name == asked })
}

// refuse tells why rung cannot be taken, or nil. A missing feature comes before
// unfit company: that could be mended by another wish, and then would not work.
func refuse(rung Rung, r *probe.Report, chosen *Selection) *Refusal {
	fit := len(rung.With) == 0 || slices.ContainsFunc(rung.With, chosen.has)
	ref := lacking(rung, r)
	switch {
	case ref != nil && fit:
		ref.weight = 2
		return ref
	case ref != nil:
		ref.weight = 1
		return ref
	case fit:
		return nil
	}
	other, _, _ := strings.Cut(rung.With[0], "=")
	is := chosen.Rung(Concern(other))
	if is == "" {
		is = "not possible"
	}
	return &Refusal{
		Rung: rung.Name,
		Why:  fmt.Sprintf("goes with %s only, and %s is %s", strings.Join(rung.With, " or "), other, is),
		Mend: "ask for " + rung.With[0],
	}
}

// lacking names the first feature that rung needs and that does not work.
func lacking(rung Rung, r *probe.Report) *Refusal {
	for _, f := range rung.Needs {
		if r.Lacks(f) {
			return refusal(rung, r, f)
		}
	}
	if len(rung.NeedsAny) > 0 && !slices.ContainsFunc(rung.NeedsAny, func(f probe.Feature) bool { return !r.Lacks(f) }) {
		return refusal(rung, r, rung.NeedsAny[0])
	}
	return nil
}

func refusal(rung Rung, r *probe.Report, f probe.Feature) *Refusal {
	res := r.Get(f)
	why := res.Why
	if why == "" {
		why = "does not work here"
	}
	return &Refusal{Rung: rung.Name, Feature: f, Why: why, Mend: res.Mend}
}

// has tells whether "concern=rung" was chosen.
func (s *Selection) has(with string) bool {
	c, rung, _ := strings.Cut(with, "=")
	return rung != "" && s.Rung(Concern(c)) == rung
}

func lacks(rung Rung, r *probe.Report) []string {
	out := slices.Clone(rung.Lacks)
	for _, w := range rung.Wants {
		if r.Lacks(w.Feature) {
			out = append(out, w.Else+" ("+string(w.Feature)+": "+r.Get(w.Feature).Why+")")
		}
	}
	return out
}

// tidy keeps the weightiest refusal of each rung, and none of a rung that was
// taken in the end by a later entry of its name: what that goes without is in
// Lacks.
func tidy(ch Choice) []Refusal {
	var out []Refusal
	for _, ref := range ch.Refused {
		if ref.Rung == ch.Rung {
			continue
		}
		i := slices.IndexFunc(out, func(o Refusal) bool { return o.Rung == ref.Rung })
		switch {
		case i < 0:
			out = append(out, ref)
		case out[i].weight < ref.weight:
			out[i] = ref
		}
	}
	return out
}

// Usable is nil when a container can be started with this selection, and
// otherwise an error that Is ErrNoRung and names what every rung failed for.
func (s *Selection) Usable() error {
	for _, c := range []Concern{Isolation, Rootfs} {
		ch := s.Choice(c)
		if ch.Rung != "" {
			continue
		}
		var why []string
		for _, ref := range ch.Refused {
			why = append(why, ref.String())
		}
		return fmt.Errorf("%s: %w (%s)", c, ErrNoRung, strings.Join(why, "; "))
	}
	return nil
}

// String is "RUNG: why [feature]".
func (r Refusal) String() string {
	s := r.Rung + ": " + r.Why
	if r.Feature != "" {
		s += " [" + string(r.Feature) + "]"
	}
	return s
}
