package supervise

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/supervise/crew"

	"github.com/moby/moby/api/types/container"
)

// shop is a group: web comes after db, which must be well, and after migrate,
// which must have ended.
func shop() []Crewman {
	five := 5
	db := inspected("shop-db-1", container.HostConfig{}, container.Config{
		Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}}, StopSignal: "SIGQUIT", StopTimeout: &five,
	})
	db.ID = strings.Repeat("d", 64)
	migrate := inspected("shop-migrate-1", container.HostConfig{}, container.Config{})
	migrate.ID = strings.Repeat("e", 64)
	web := inspected("shop-web-1", container.HostConfig{}, container.Config{})
	return []Crewman{
		{db, "db", nil},
		{migrate, "migrate", map[string]string{"db": healthy, "gone": started}},
		{web, "web", map[string]string{"db": started, "migrate": completed}},
	}
}

func TestOfGroup(t *testing.T) {
	u, err := OfGroup("shop", shop(), Options{Binary: "/usr/bin/coracle", Ready: "healthy", NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(u.Exec(), " "); got != "/usr/bin/coracle supervise run --group --ready=healthy --no-log shop" {
		t.Error(got)
	}
	// web, then migrate, then db; and what the supervisor waits longer.
	if u.Patience() != 25*time.Second+margin || !slices.Equal(u.StopCodes, []int{131, 143}) || u.UnitName() != "coracle-group-shop" {
		t.Errorf("%v %v %s", u.Patience(), u.StopCodes, u.UnitName())
	}
	if _, err := OfGroup("shop", shop(), Options{Binary: "/x", Ready: "container"}); err == nil {
		t.Error("a group speaks for itself")
	}
	for _, name := range []string{"", "a b", "a;reboot", "A", "-x", "a\nb", "$(x)"} {
		if _, err := OfGroup(name, shop(), Options{Binary: "/x"}); err == nil {
			t.Errorf("%q is a group's name", name)
		}
	}
	men := shop()
	men[0].HostConfig.AutoRemove = true
	if _, err := OfGroup("shop", men, Options{Binary: "/x"}); err == nil {
		t.Error("a container that is removed when it ends")
	}
	forever := -1
	men = shop()
	men[2].Config.StopTimeout = &forever
	if u, err := OfGroup("shop", men, Options{Binary: "/x"}); err != nil || u.Patience() >= 0 {
		t.Errorf("%v %v", u, err)
	}
}

func TestOfServices(t *testing.T) {
	units, warnings, err := OfServices(shop(), Options{Binary: "/usr/bin/coracle"})
	if err != nil || len(units) != 3 || len(warnings) != 1 || !strings.Contains(warnings[0], "coracle-shop-migrate-1") {
		t.Fatalf("%v %q %v", units, warnings, err)
	}
	for i, want := range []struct {
		after string
		ready string
		order int
	}{
		{"", "healthy", 90},
		{"coracle-shop-db-1", "", 91},
		{"coracle-shop-db-1 coracle-shop-migrate-1", "", 92},
	} {
		if u := units[i]; strings.Join(u.After, " ") != want.after || u.Ready != want.ready || u.Order() != want.order {
			t.Errorf("%s: after %q, ready when %q, place %d", u.Name, u.After, u.Ready, u.Order())
		}
	}
	if got := text(t, "systemd", units[2]); !strings.Contains(got, "Requires=coracle-shop-db-1.service\nRequires=coracle-shop-migrate-1.service\n") {
		t.Error(got)
	}
	men := shop()
	men[0].Config.Healthcheck = nil
	if _, _, err := OfServices(men, Options{Binary: "/x"}); err == nil || !strings.Contains(err.Error(), "no health check") {
		t.Error(err)
	}
}

func TestNewCrew(t *testing.T) {
	o := CrewOptions{Globals: []string{"--root=/r"}, NoLog: true, Output: func(string) io.WriteCloser { return os.Stdout }}
	c, err := NewCrew(shop(), &Herald{}, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []crew.Member{
		{Name: "shop-db-1", Args: strings.Fields("--root=/r supervise run --notify-fd=3 --restart --ready=healthy --no-log shop-db-1")},
		{Name: "shop-migrate-1", Args: strings.Fields("--root=/r supervise run --notify-fd=3 --restart --no-log shop-migrate-1"), Needs: []string{"shop-db-1"}},
		{Name: "shop-web-1", Args: strings.Fields("--root=/r supervise run --notify-fd=3 --restart --no-log shop-web-1"), Needs: []string{"shop-db-1"}, Waits: []string{"shop-migrate-1"}},
	}
	for i, w := range want {
		if m := c.Members[i]; m.Name != w.Name || !slices.Equal(m.Args, w.Args) || !slices.Equal(m.Needs, w.Needs) || !slices.Equal(m.Waits, w.Waits) {
			t.Errorf("%+v, want %+v", m, w)
		}
	}
	men := shop()
	men[0].Config.Healthcheck = nil
	if _, err := NewCrew(men, &Herald{}, o); err == nil {
		t.Error("it waits for what will never be said")
	}
}
