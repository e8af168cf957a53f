package command

import (
	"errors"
	"time"

	"coracle/cmd/coracle/opts"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

// keepFlags are those of run and create that say how a container is kept running
// and healthy.
func keepFlags() []cli.Flag {
	return []cli.Flag{
		text("health-cmd", "", "Command to run to check health"),
		text("health-interval", "", "`duration` Time between running the check (ms|s|m|h) (default 0s)"),
		number("health-retries", "", "Consecutive failures needed to report unhealthy"),
		text("health-start-interval", "", "`duration` Time between running the check during the start period (ms|s|m|h) (default 0s)"),
		text("health-start-period", "", "`duration` Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)"),
		text("health-timeout", "", "`duration` Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
		toggle("no-healthcheck", "", "Disable any container-specified HEALTHCHECK"),
		text("restart", "", "Restart policy to apply when a container exits"),
	}
}

func (s *settings) fillKeep() (err error) {
	if s.Host.RestartPolicy, err = opts.RestartPolicy(s.c.String("restart")); err != nil {
		return err
	}
	if s.Host.AutoRemove && !s.Host.RestartPolicy.IsNone() {
		return errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	s.Config.Healthcheck, err = healthcheck(s.c, s.v)
	return err
}

func healthcheck(c *cli.Context, v *verb) (*container.HealthConfig, error) {
	h := &container.HealthConfig{Retries: c.Int("health-retries")}
	asked := c.String("health-cmd") != "" || h.Retries != 0
	for _, d := range []struct {
		flag string
		into *time.Duration
	}{
		{"health-interval", &h.Interval}, {"health-timeout", &h.Timeout},
		{"health-start-period", &h.StartPeriod}, {"health-start-interval", &h.StartInterval},
	} {
		value := c.String(d.flag)
		if value == "" {
			continue
		}
		var err error
		if *d.into, err = time.ParseDuration(value); err != nil {
			return nil, v.badValue(d.flag, value, err)
		}
		asked = asked || *d.into != 0
		if *d.into < 0 && !c.Bool("no-healthcheck") {
			return nil, errors.New("--" + d.flag + " cannot be negative")
		}
	}
	switch {
	case c.Bool("no-healthcheck") && asked:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case c.Bool("no-healthcheck"):
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case !asked:
		return nil, nil
	case h.Retries < 0:
		return nil, errors.New("--health-retries cannot be negative")
	}
	if cmd := c.String("health-cmd"); cmd != "" {
		h.Test = []string{"CMD-SHELL", cmd}
	}
	return h, nil
}
