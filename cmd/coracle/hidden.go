package main

// hidden runs what the program is when called by another name than coracle's
// or docker's.
func hidden(name, base string) (code int, ok bool) {
	switch base {
	case "coracle", "docker":
		return 0, false
	}
	return 0, false
}
