// Package change applies single Dockerfile instructions to an image's config,
// as `docker import --change` and `docker commit --change` do. It does not
// read Dockerfiles.
package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/signal"
)

// ErrInvalid is for an instruction that cannot be applied.
var ErrInvalid = errors.New("invalid change")

// Apply applies one instruction to c.
func Apply(c *dockerspec.DockerOCIImageConfig, line string) error {
	line = strings.TrimSpace(line)
	verb, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		verb, rest = line[:i], strings.TrimSpace(line[i:])
	}
	verb = strings.ToUpper(verb)
	if err := apply(c, verb, rest); err != nil {
		return fmt.Errorf("%w %q: %w", ErrInvalid, line, err)
	}
	return nil
}

func apply(c *dockerspec.DockerOCIImageConfig, verb, rest string) error {
	if rest == "" && verb != "CMD" && verb != "ENTRYPOINT" {
		if !known(verb) {
			return fmt.Errorf("%s is not a valid change command", strings.ToLower(verb))
		}
		return fmt.Errorf("%s requires an argument", verb)
	}
	switch verb {
	case "CMD":
		c.Cmd = command(c, rest)
	case "ENTRYPOINT":
		c.Entrypoint = command(c, rest)
	case "ENV":
		return setEnv(c, rest)
	case "EXPOSE":
		return expose(c, rest)
	case "LABEL":
		return label(c, rest)
	case "VOLUME":
		return volume(c, rest)
	case "HEALTHCHECK":
		return health(c, rest)
	case "ONBUILD":
		return onBuild(c, rest)
	case "USER", "WORKDIR", "STOPSIGNAL":
		return word(c, verb, rest)
	default:
		return fmt.Errorf("%s is not a valid change command", strings.ToLower(verb))
	}
	return nil
}

func known(verb string) bool {
	switch verb {
	case "ENV", "EXPOSE", "LABEL", "VOLUME", "HEALTHCHECK", "ONBUILD", "USER", "WORKDIR", "STOPSIGNAL":
		return true
	}
	return false
}

// command reads the JSON form, or wraps the shell form in the image's shell.
func command(c *dockerspec.DockerOCIImageConfig, s string) []string {
	if args, ok := jsonForm(s); ok {
		return args
	}
	if s == "" {
		return nil
	}
	shell := c.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(append([]string{}, shell...), s)
}

func jsonForm(s string) ([]string, bool) {
	if !strings.HasPrefix(s, "[") {
		return nil, false
	}
	var args []string
	if json.Unmarshal([]byte(s), &args) != nil {
		return nil, false
	}
	return args, true
}

func word(c *dockerspec.DockerOCIImageConfig, verb, rest string) error {
	w, err := expand(rest, c.Env)
	if err != nil {
		return err
	}
	switch verb {
	case "USER":
		c.User = w
	case "STOPSIGNAL":
		if _, err := signal.ParseSignal(w); err != nil {
			return err
		}
		c.StopSignal = w
	case "WORKDIR":
		if !path.IsAbs(w) {
			w = path.Join("/", c.WorkingDir, w)
		}
		c.WorkingDir = path.Clean(w)
	}
	return nil
}

func onBuild(c *dockerspec.DockerOCIImageConfig, rest string) error {
	switch verb := strings.ToUpper(strings.Fields(rest)[0]); verb {
	case "ONBUILD":
		return errors.New("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "FROM", "MAINTAINER":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", verb)
	}
	c.OnBuild = append(c.OnBuild, rest)
	return nil
}

func setEnv(c *dockerspec.DockerOCIImageConfig, rest string) error {
	pairs, err := pairs(rest, c.Env)
	if err != nil {
		return err
	}
next:
	for _, p := range pairs {
		for i, old := range c.Env {
			if k, _, _ := strings.Cut(old, "="); k == p[0] {
				c.Env[i] = p[0] + "=" + p[1]
				continue next
			}
		}
		c.Env = append(c.Env, p[0]+"="+p[1])
	}
	return nil
}

func label(c *dockerspec.DockerOCIImageConfig, rest string) error {
	pairs, err := pairs(rest, c.Env)
	if err != nil {
		return err
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for _, p := range pairs {
		c.Labels[p[0]] = p[1]
	}
	return nil
}

func volume(c *dockerspec.DockerOCIImageConfig, rest string) error {
	dirs, ok := jsonForm(rest)
	if !ok {
		var err error
		if dirs, err = fields(rest); err != nil {
			return err
		}
	}
	if c.Volumes == nil {
		c.Volumes = map[string]struct{}{}
	}
	for _, d := range dirs {
		d, err := expand(d, c.Env)
		if err != nil {
			return err
		}
		if d == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		c.Volumes[d] = struct{}{}
	}
	return nil
}

func expose(c *dockerspec.DockerOCIImageConfig, rest string) error {
	ports, err := fields(rest)
	if err != nil {
		return err
	}
	if c.ExposedPorts == nil {
		c.ExposedPorts = map[string]struct{}{}
	}
	for _, p := range ports {
		if p, err = expand(p, c.Env); err != nil {
			return err
		}
		num, proto, ok := strings.Cut(p, "/")
		if !ok {
			proto = "tcp"
		}
		proto = strings.ToLower(proto)
		lo, hi, isRange := strings.Cut(num, "-")
		if !isRange {
			hi = lo
		}
		a, e1 := strconv.ParseUint(lo, 10, 16)
		b, e2 := strconv.ParseUint(hi, 10, 16)
		if e1 != nil || e2 != nil || b < a || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("invalid port %q", p)
		}
		for n := a; n <= b; n++ {
			c.ExposedPorts[strconv.FormatUint(n, 10)+"/"+proto] = struct{}{}
		}
	}
	return nil
}

func health(c *dockerspec.DockerOCIImageConfig, rest string) error {
	h := &dockerspec.HealthcheckConfig{}
	for strings.HasPrefix(rest, "--") {
		flag, after, _ := strings.Cut(rest, " ")
		rest = strings.TrimSpace(after)
		if err := healthFlag(h, flag); err != nil {
			return err
		}
	}
	verb, args, _ := strings.Cut(rest, " ")
	args = strings.TrimSpace(args)
	switch strings.ToUpper(verb) {
	case "NONE":
		if args != "" {
			return errors.New("HEALTHCHECK NONE takes no arguments")
		}
		c.Healthcheck = &dockerspec.HealthcheckConfig{Test: []string{"NONE"}}
		return nil
	case "CMD":
		if args == "" {
			return errors.New("missing command after HEALTHCHECK CMD")
		}
		if list, ok := jsonForm(args); ok {
			h.Test = append([]string{"CMD"}, list...)
		} else {
			h.Test = []string{"CMD-SHELL", args}
		}
		c.Healthcheck = h
		return nil
	}
	return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", verb)
}

func healthFlag(h *dockerspec.HealthcheckConfig, flag string) error {
	key, val, _ := strings.Cut(flag, "=")
	if key == "--retries" {
		n, err := strconv.ParseInt(val, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("invalid %s", flag)
		}
		h.Retries = int(n)
		return nil
	}
	d, err := time.ParseDuration(val)
	if err != nil || d < 0 || d > 0 && d < time.Millisecond {
		return fmt.Errorf("invalid %s: a duration of at least 1ms", flag)
	}
	switch key {
	case "--interval":
		h.Interval = d
	case "--timeout":
		h.Timeout = d
	case "--start-period":
		h.StartPeriod = d
	case "--start-interval":
		h.StartInterval = d
	default:
		return fmt.Errorf("unknown flag %s", key)
	}
	return nil
}
