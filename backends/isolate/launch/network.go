package launch

import (
	"coracle/backends/isolate/inside"
	"coracle/backends/isolate/stage"
)

// stage does not import what speaks to the kernel's networks, so that it can run
// before those packages are initialised (stage.Network).
var _ = func() bool { stage.Network = inside.Do; return true }()
