package logs

import (
	"os"

	"coracle/engine/logs/journald"
)

// journalSocket is the journal's, or that which CORACLE_JOURNAL names: a test's.
func journalSocket() string {
	if path := os.Getenv("CORACLE_JOURNAL"); path != "" {
		return path
	}
	return journald.Socket
}
