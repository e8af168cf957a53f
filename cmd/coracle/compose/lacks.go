package compose

// Lacks says why a command lacks a flag of docker compose's, or, with flag "",
// why there is no such command; "" where nothing is said.
func Lacks(verb, flag string) string {
	switch flag {
	case "build", "quiet-build":
		return "nothing is built: name an image that is"
	case "watch":
		return "nothing is watched"
	case "models":
		return "no model is run"
	}
	if flag != "" {
		return ""
	}
	switch verb {
	case "build", "publish":
		return "nothing is built: name an image that is"
	case "watch":
		return "nothing is watched"
	case "bridge", "convert":
		return "files are not converted: see 'coracle compose config'"
	}
	return ""
}
