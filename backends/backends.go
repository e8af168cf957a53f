// Package backends chooses, for each concern of a container, the best rung
// that works here. Selecting is a pure function of the probe's report and the
// user's wish, and returns the evidence with the choice.
//
// The ordered list of rungs is in all.go: it is the fallback chain.
package backends

import "coracle/probe"

// Concern is one ladder of rungs.
type Concern string

// The concerns, in the order in which they are printed and selected.
const (
	Isolation Concern = "isolation"
	Rootfs    Concern = "rootfs"
	Limits    Concern = "limits"
	Wiring    Concern = "wiring"
	Entering  Concern = "entering"
)

// Rung is one way to serve a concern.
type Rung struct {
	Concern Concern
	Name    string
	// Needs must all not be probe.No.
	Needs []probe.Feature
	// NeedsAny, where not empty, must hold one that is not probe.No.
	NeedsAny []probe.Feature
	// Wants are used where they are there; each that is probe.No adds its
	// words to what the choice lacks.
	Wants []Want
	// With names rungs of other concerns, at least one of which must have been
	// chosen ("isolation=userns"); empty: any.
	With []string
	// Gives says in a few words what the user gets.
	Gives string
	// Lacks says what this rung cannot honour; printed by probe and info.
	Lacks []string
}

// Want is a feature that a rung can go without, at a loss.
type Want struct {
	Feature probe.Feature
	Else    string // what the container goes without
}

// Refusal is a better or asked-for rung that was not taken.
type Refusal struct {
	Rung    string        `json:"rung"`
	Feature probe.Feature `json:"feature,omitempty"`
	Why     string        `json:"why"`
	Mend    string        `json:"mend,omitempty"`
	// weight is lower for an entry that would not go with what was chosen.
	weight int
}

// Choice is the rung taken for one concern, with the evidence.
type Choice struct {
	Concern Concern   `json:"concern"`
	Rung    string    `json:"rung"`
	Asked   bool      `json:"asked"` // the user named it
	Gives   string    `json:"gives"`
	Lacks   []string  `json:"lacks,omitempty"`
	Refused []Refusal `json:"refused,omitempty"`
}

// Selection is a choice for each concern.
type Selection struct {
	Choices []Choice `json:"choices"`
}

// Rung returns the name of the rung taken for c, or "".
func (s *Selection) Rung(c Concern) string {
	for _, ch := range s.Choices {
		if ch.Concern == c {
			return ch.Rung
		}
	}
	return ""
}

// Choice returns the choice for c, and an empty one where there is none.
func (s *Selection) Choice(c Concern) Choice {
	for _, ch := range s.Choices {
		if ch.Concern == c {
			return ch
		}
	}
	return Choice{Concern: c}
}

// Wish is what the user asked for by name: concern to rung name.
type Wish map[Concern]string
