package command

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// userConfig is what of Docker's own client configuration says how commands
// print and which keys detach. What cannot be read is as if it were not there:
// Docker's client warns, ours leaves that to login, which needs it.
func userConfig() map[string]json.RawMessage {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		dir = filepath.Join(home, ".docker")
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil {
		return nil
	}
	return all
}

// configured is one text of the user's configuration.
func configured(key string) string {
	var s string
	if raw := userConfig()[key]; raw != nil && json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// listFormat is how a list is printed: as the flag says, or, where it says
// nothing, as the user's configuration does under key.
func listFormat(flag, key string, quiet bool) string {
	if flag != "" || quiet {
		return flag
	}
	return configured(key)
}
