package compose

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"coracle/group/act"
)

// ForPrograms tells whether everything on standard error is to be JSON, one value
// a line: --progress json.
func (p *Project) ForPrograms() bool { return p != nil && p.progress == "json" }

// WriteWarning writes a warning as docker compose's logger does.
func WriteWarning(w io.Writer, line string) {
	write(w, struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{"warning", line, time.Now().Format(time.RFC3339)})
}

// WriteError writes why a command failed.
func WriteError(w io.Writer, message, hint string) {
	write(w, struct {
		Error   bool   `json:"error"`
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	}{true, message, hint})
}

// writeLog writes the end of a failed container's log.
func writeLog(w io.Writer, e *act.Error) {
	write(w, struct {
		ID  string   `json:"id"`
		Log []string `json:"log"`
	}{"Container " + e.Container, e.Log})
}

func write(w io.Writer, v any) {
	if data, err := json.Marshal(v); err == nil {
		fmt.Fprintln(w, string(data))
	}
}
