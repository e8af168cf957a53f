// Package supervise puts containers under the machine's own process supervisor:
// it writes units for each of the systems that it knows, and has what a unit
// calls. The supervised process is always coracle in the foreground, the
// container's parent.
//
// It says what is to be supervised in a [Unit]: not only containers can be.
package supervise

import (
	"coracle/internal/sys"
	"coracle/supervise/background"
	"coracle/supervise/notify"
)

// Herald tells a supervisor of a container's life; see package notify.
type Herald = notify.Herald

// Healthy is the way to be ready that needs a health check.
const Healthy = notify.Healthy

// NewHerald is one for the supervisor that the environment tells of.
func NewHerald(when string, fd int) (*Herald, error) { return notify.New(when, fd) }

// Background is a service that starts by itself, see package background.
type Background = background.Service

// BackgroundFD is the descriptor on which such a service says that it is up.
const BackgroundFD = background.FD

// FailedError is one that did not come up.
type FailedError = background.FailedError

// StartBackground starts our own program with the arguments of s.
func StartBackground(s Background) error {
	var err error
	if s.Path, _, err = sys.Self(); err != nil {
		return err
	}
	_, err = background.Start(s)
	return err
}
