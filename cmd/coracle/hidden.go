package main

// hidden runs what the program is when called by another name than coracle's
// or docker's.
func hidden(base string, args []string) (code int, ok bool) {
	return 0, false
}
