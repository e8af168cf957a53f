// Package keep is what keeps a container as its user wants it: when it is started
// again after its end, when after a boot and in which order, and whether it is
// healthy. It decides; the engine and the monitor act.
package keep

import (
	"time"

	"github.com/moby/moby/api/types/container"
)

// Docker's: the first pause before a container is started again, the longest, and
// how long it must have run for the pauses to begin anew.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = time.Minute
	settled    = 10 * time.Second
)

// Restarter counts the restarts of one container. The zero value is that of one
// that was started by a person just now.
type Restarter struct {
	Count int
	pause time.Duration
}

// Again tells whether the container is started again after an end with code after
// ran, and after which pause. stopped: a person ended it.
func (r *Restarter) Again(p container.RestartPolicy, code int, ran time.Duration, stopped bool) (time.Duration, bool) {
	if stopped || !wants(p, code, r.Count) {
		return 0, false
	}
	switch {
	case ran >= settled || r.pause == 0:
		r.pause = firstPause
	default:
		r.pause = min(2*r.pause, maxPause)
	}
	r.Count++
	return r.pause, true
}

func wants(p container.RestartPolicy, code, count int) bool {
	switch {
	case p.IsAlways(), p.IsUnlessStopped():
		return true
	case p.IsOnFailure():
		return code != 0 && (p.MaximumRetryCount == 0 || count < p.MaximumRetryCount)
	}
	return false
}
