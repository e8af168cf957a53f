package main

import (
	"strings"

	"coracle/image/box/applet"
)

// hidden runs what the program is when called by another name than coracle's
// or docker's.
func hidden(base string, args []string) (code int, ok bool) {
	switch {
	case base == "coracle", base == "docker":
		return 0, false
	case base == "box":
		return applet.Main(args), true
	}
	// A login shell's name begins with a dash.
	if _, ok := applet.Lookup(strings.TrimPrefix(base, "-")); ok {
		return applet.Main(args), true
	}
	return 0, false
}
