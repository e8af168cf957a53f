package confine

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// dockerProfile is the AppArmor profile that Docker's packages load.
const dockerProfile = "docker-default"

// Options are what --security-opt says.
type Options struct {
	NoNewPrivs bool
	// Unconfined: no system call filter.
	Unconfined bool
	// SeccompFile is a profile of the user's, "" for Docker's default. It may
	// be the JSON text itself, as it comes by the API.
	SeccompFile string
	// AppArmor is the profile asked for, "" for the default one.
	AppArmor string
	// SystemPaths: nothing in /proc and /sys is masked or made read-only.
	SystemPaths bool
	// NoLabel: SELinux labels were switched off. Others are not supported.
	NoLabel bool
}

// ParseSecurityOpt reads the values of --security-opt, in the spellings and
// with the errors of Docker.
func ParseSecurityOpt(opts []string) (Options, error) {
	var o Options
	for _, opt := range opts {
		if err := o.parse(opt); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

func (o *Options) parse(opt string) error {
	if opt == "no-new-privileges" {
		o.NoNewPrivs = true
		return nil
	}
	if opt == "disable" { // an old spelling of label=disable
		o.NoLabel = true
		return nil
	}
	key, value, ok := strings.Cut(opt, "=")
	if !ok {
		// The old spelling "seccomp:unconfined".
		key, value, ok = strings.Cut(opt, ":")
	}
	if !ok {
		return &InvalidError{fmt.Sprintf("invalid --security-opt 1: %q", opt)}
	}
	switch key {
	case "no-new-privileges":
		v, err := strconv.ParseBool(value)
		if err != nil {
			return &InvalidError{fmt.Sprintf("invalid --security-opt 2: %q", opt)}
		}
		o.NoNewPrivs = v
	case "seccomp":
		o.seccomp(value)
	case "apparmor":
		o.AppArmor = value
	case "label":
		if value != "disable" {
			return &InvalidError{fmt.Sprintf("SELinux labels are not supported: %q", opt)}
		}
		o.NoLabel = true
	case "systempaths":
		if value != "unconfined" {
			return &InvalidError{fmt.Sprintf("invalid --security-opt 2: %q", opt)}
		}
		o.SystemPaths = true
	case "writable-cgroups":
		return &InvalidError{fmt.Sprintf("not supported: --security-opt %q", opt)}
	default:
		return &InvalidError{fmt.Sprintf("invalid --security-opt 2: %q", opt)}
	}
	return nil
}

func (o *Options) seccomp(value string) {
	o.Unconfined, o.SeccompFile = false, ""
	switch value {
	case "unconfined":
		o.Unconfined = true
	case "builtin", "":
	default:
		o.SeccompFile = value
	}
}

// AppArmorProfile is what the process's spec gets: the profile asked for, or
// Docker's where AppArmor is on and that profile is loaded, or "" for none.
// A profile that was asked for where there is no AppArmor is an error.
func AppArmorProfile(o Options, privileged bool) (string, error) {
	on := appArmorOn()
	switch {
	case o.AppArmor == "unconfined":
		if on {
			return "unconfined", nil
		}
		return "", nil
	case o.AppArmor != "":
		if !on {
			return "", &InvalidError{fmt.Sprintf("AppArmor is not enabled on this host: --security-opt apparmor=%s", o.AppArmor)}
		}
		return o.AppArmor, nil
	case !on:
		return "", nil
	case privileged:
		return "unconfined", nil
	}
	if profileLoaded("/sys/kernel/security/apparmor/profiles", dockerProfile) {
		return dockerProfile, nil
	}
	return "", nil
}

func appArmorOn() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
}

// profileLoaded looks for name in the kernel's list: lines "name (mode)".
func profileLoaded(list, name string) bool {
	f, err := os.Open(list)
	if err != nil {
		return false
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if strings.HasPrefix(sc.Text(), name+" (") {
			return true
		}
	}
	return false
}
