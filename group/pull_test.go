package group

import (
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// TestNeeded: when an image that is here is pulled once more.
func TestNeeded(t *testing.T) {
	for _, tc := range []struct {
		policy, flag string
		here         bool
		ago          time.Duration
		want         string
		fails        bool
	}{
		{"", "", true, 0, "", false},
		{"", "", false, 0, "missing", false},
		{"", "always", true, 0, "always", false},
		{"always", "", true, 0, "always", false},
		{"always", "missing", true, 0, "", false},
		{"never", "", true, 0, "", false},
		{"never", "", false, 0, "", true},
		{"if_not_present", "", false, 0, "missing", false},
		{"daily", "", true, 23 * time.Hour, "", false},
		{"daily", "", true, 25 * time.Hour, "daily", false},
		{"daily", "", false, time.Hour, "missing", false},
		{"daily", "never", true, 25 * time.Hour, "", false},
		{"weekly", "", true, 6 * 24 * time.Hour, "", false},
		{"weekly", "", true, 8 * 24 * time.Hour, "weekly", false},
		{"refresh", "", true, time.Minute, "refresh", false},
		{"refresh 12h", "", true, 11 * time.Hour, "", false},
		{"refresh 12h", "", true, 13 * time.Hour, "refresh", false},
		{"refresh soon", "", true, 0, "", true},
		{"every_30m", "", true, 29 * time.Minute, "", false},
		{"every_30m", "", true, 31 * time.Minute, "every_30m", false},
	} {
		id := ""
		if tc.here {
			id = "sha256:1"
		}
		s := &types.ServiceConfig{}
		s.Image = "x"
		s.PullPolicy, s.PullRefreshAfter, _ = strings.Cut(tc.policy, " ")
		got, err := needed(s, id, tc.flag, func() time.Time { return time.Now().Add(-tc.ago) })
		if got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%+v: %q, %v", tc, got, err)
		}
	}
}
