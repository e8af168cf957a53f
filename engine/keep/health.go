package keep

import (
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Docker's defaults of a health check, and how many results are kept.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
	healthLog           = 5
)

// Health is the health of one run of a container.
type Health struct {
	cfg     *container.HealthConfig
	started time.Time
	now     container.Health
}

// NewHealth is that of a run that has started; nil where nothing is to be checked.
func NewHealth(cfg *container.HealthConfig, started time.Time) *Health {
	if Test(cfg, nil) == nil {
		return nil
	}
	return &Health{cfg: cfg, started: started, now: container.Health{Status: container.Starting, Log: []*container.HealthcheckResult{}}}
}

// Test is the command that checks, or nil. shell is the image's for commands, or
// nil for Docker's.
func Test(cfg *container.HealthConfig, shell []string) []string {
	if cfg == nil || len(cfg.Test) < 2 {
		return nil
	}
	switch cfg.Test[0] {
	case "CMD":
		return cfg.Test[1:]
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(append([]string{}, shell...), cfg.Test[1:]...)
	}
	return nil
}

// Pause is how long after now the next check is due.
func (h *Health) Pause(now time.Time) time.Duration {
	if h.now.Status == container.Starting && now.Sub(h.started) < h.cfg.StartPeriod {
		return or(h.cfg.StartInterval, healthStartInterval)
	}
	return or(h.cfg.Interval, healthInterval)
}

// Timeout is how long a check may take.
func (h *Health) Timeout() time.Duration { return or(h.cfg.Timeout, healthTimeout) }

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Checked takes a result, and tells whether the status is another now. A failure
// during the start period does not count.
func (h *Health) Checked(r *container.HealthcheckResult) (changed bool) {
	before := h.now.Status
	log := append(h.now.Log[:len(h.now.Log):len(h.now.Log)], r)
	h.now.Log = log[max(0, len(log)-healthLog):]
	switch {
	case r.ExitCode == 0:
		h.now.FailingStreak, h.now.Status = 0, container.Healthy
	case before == container.Starting && r.Start.Sub(h.started) < h.cfg.StartPeriod:
	default:
		retries := h.cfg.Retries
		if retries <= 0 {
			retries = healthRetries
		}
		if h.now.FailingStreak++; h.now.FailingStreak >= retries {
			h.now.Status = container.Unhealthy
		}
	}
	return h.now.Status != before
}

// Stopped: nobody checks any more, which Docker shows as unhealthy.
func (h *Health) Stopped() { h.now.Status = container.Unhealthy }

// Now is the health, with its log.
func (h *Health) Now() *container.Health {
	c := h.now
	return &c
}

// Brief is the health without its log, to be written down when it changes.
func (h *Health) Brief() *container.Health {
	return &container.Health{Status: h.now.Status, FailingStreak: h.now.FailingStreak}
}

// MergeHealth puts what the user said over what the image says.
func MergeHealth(user, image *container.HealthConfig) *container.HealthConfig {
	if user == nil || image == nil {
		if user == nil {
			return image
		}
		return user
	}
	out := *user
	if len(out.Test) == 0 {
		out.Test = image.Test
	}
	for _, d := range []struct{ to, from *time.Duration }{
		{&out.Interval, &image.Interval}, {&out.Timeout, &image.Timeout},
		{&out.StartPeriod, &image.StartPeriod}, {&out.StartInterval, &image.StartInterval},
	} {
		*d.to = or(*d.to, *d.from)
	}
	if out.Retries == 0 {
		out.Retries = image.Retries
	}
	return &out
}

// CheckHealth refuses a check in the words of Docker's daemon.
func CheckHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < time.Millisecond {
			return fmt.Errorf("%s in Healthcheck cannot be less than %s", d.name, time.Millisecond)
		}
	}
	if h.Retries < 0 {
		return fmt.Errorf("Retries in Healthcheck cannot be negative")
	}
	return nil
}
