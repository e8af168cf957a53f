package plan

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/group/load"
	"coracle/group/model"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

func project(t *testing.T, text string) *load.Project {
	t.Helper()
	path := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := load.Load(context.Background(), load.Options{Files: []string{path}, Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// have is a container as a listing shows it after it was made of p.
func have(t *testing.T, p *load.Project, service string, number int, state container.ContainerState, change ...func(l map[string]string)) container.Summary {
	t.Helper()
	s := p.Services[service]
	labels, err := model.Labels(p, &s, number, "sha256:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(labels)
	}
	return container.Summary{ID: strings.Repeat("a", 63) + string(rune('0'+number)), Names: []string{"/" + model.Name(p, &s, number)}, Labels: labels, State: state}
}

const three = `
services:
  db: {image: box}
  web:
    image: box
    scale: 3
    depends_on: {db: {condition: service_healthy, restart: true}}
  front: {image: box, depends_on: [web]}
`

func text(t *testing.T, p *load.Project, s *State, o Options) string {
	t.Helper()
	pl, err := Up(p, s, o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	pl.Write(&b)
	return b.String()
}

func TestUp(t *testing.T) {
	p := project(t, three)
	changed := func(l map[string]string) { l[model.LabelHash] = "other" }
	all := func(web ...container.Summary) []container.Summary {
		return append([]container.Summary{have(t, p, "db", 1, "running"), have(t, p, "front", 1, "running")}, web...)
	}
	web := func(n int, s container.ContainerState) container.Summary { return have(t, p, "web", n, s) }
	for _, tc := range []struct {
		name string
		have []container.Summary
		o    Options
		want []string // lines that are there
		not  []string
	}{
		{"from nothing", nil, Options{}, []string{
			"wave 1\n  create    container shop-db-1\nwave 2\n  create    container shop-web-1, after db: healthy\n",
			"wave 3\n  create    container shop-front-1, after web: started\n"}, nil},
		{"nothing to do", all(web(1, "running"), web(2, "running"), web(3, "running")), Options{}, []string{"shop: nothing to do\n"}, nil},
		{"one is missing", all(web(1, "running"), web(3, "running")), Options{}, []string{"create    container shop-web-4"}, []string{"recreate"}},
		{"one has ended", all(web(1, "exited"), web(2, "running"), web(3, "running")), Options{}, []string{"start     container shop-web-1 (is exited)"}, nil},
		{"one too many", all(web(1, "running"), web(2, "running"), web(3, "running"), web(4, "running")), Options{}, []string{"remove    container shop-web-4 (scaled to 3)"}, nil},
		{"configuration", all(have(t, p, "web", 1, "running", changed), web(2, "running"), web(3, "running")), Options{},
			[]string{"recreate  container shop-web-1 (its configuration changed)"}, []string{"recreate  container shop-web-2"}},
		{"image", all(web(1, "running"), web(2, "running"), web(3, "running")), Options{Images: map[string]string{"web": "sha256:2"}},
			[]string{"recreate  container shop-web-3 (the image changed)"}, nil},
		{"a dependency with restart", append(all(web(1, "running"), web(2, "running"), web(3, "running"))[1:], have(t, p, "db", 1, "running", changed)), Options{},
			[]string{"recreate  container shop-db-1", "start     container shop-web-2 (service db gets a new container)"}, []string{"start     container shop-front-1"}},
		{"forced for one", all(web(1, "running"), web(2, "running"), web(3, "running")), Options{Recreate: Force, Services: []string{"front"}},
			[]string{"recreate  container shop-front-1 (--force-recreate)"}, []string{"recreate  container shop-web", "recreate  container shop-db"}},
		{"never", all(have(t, p, "web", 1, "running", changed), web(2, "running"), web(3, "running")), Options{Recreate: Keep}, []string{"nothing to do"}, nil},
		{"no start", all(web(1, "exited"), web(2, "running"), web(3, "running")), Options{NoStart: true}, []string{"nothing to do"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := text(t, p, Observe(tc.have), tc.o)
			for _, w := range tc.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in\n%s", w, got)
				}
			}
			for _, w := range tc.not {
				if strings.Contains(got, w) {
					t.Errorf("%q in\n%s", w, got)
				}
			}
		})
	}
}

// TestHalf: what a recreation left that was killed in the middle.
func TestHalf(t *testing.T) {
	p := project(t, "services: {web: {image: box}}\n")
	half := have(t, p, "web", 1, "created", func(l map[string]string) { l[model.LabelReplace] = "web-1" })
	half.Names = []string{"/0123456789ab_shop-web-1"}
	if got := text(t, p, Observe([]container.Summary{half, have(t, p, "web", 1, "running")}), Options{}); !strings.Contains(got, "remove    container 0123456789ab_shop-web-1 (left by a recreation that was broken off)") {
		t.Errorf("with the old one:\n%s", got)
	}
	if got := text(t, p, Observe([]container.Summary{half}), Options{}); !strings.Contains(got, "rename    container shop-web-1") || !strings.Contains(got, "start     container") {
		t.Errorf("without the old one:\n%s", got)
	}
}

func TestOrphans(t *testing.T) {
	p := project(t, three)
	o := have(t, p, "db", 1, "running", func(l map[string]string) { l[model.LabelService] = "old" })
	o.Names = []string{"/shop-old-1"}
	s := Observe([]container.Summary{o})
	pl, err := Up(p, s, Options{})
	if err != nil || len(pl.Orphans) != 0 || len(pl.Ignored) != 1 || pl.Ignored[0] != "shop-old-1" {
		t.Errorf("%v, %+v", err, pl)
	}
	if got := text(t, p, s, Options{RemoveOrphans: true}); !strings.Contains(got, "remove    container shop-old-1 (no service old in the files)") {
		t.Error(got)
	}
}

// TestShared: who shares a namespace of a container that is replaced is replaced
// too.
func TestShared(t *testing.T) {
	p := project(t, "services:\n  a: {image: box}\n  b: {image: box, network_mode: \"service:a\"}\n")
	a := have(t, p, "a", 1, "running")
	s := p.Services["b"]
	resolved, err := model.Resolve(&s, map[string]string{"a": a.ID})
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := model.Hash(resolved)
	b := have(t, p, "b", 1, "running", func(l map[string]string) { l[model.LabelHash] = hash })
	if got := text(t, p, Observe([]container.Summary{a, b}), Options{}); !strings.Contains(got, "nothing to do") {
		t.Error(got)
	}
	a.Labels[model.LabelHash] = "other"
	if got := text(t, p, Observe([]container.Summary{a, b}), Options{}); !strings.Contains(got, "recreate  container shop-b-1 (service a gets a new container)") {
		t.Error(got)
	}
}

func TestOneName(t *testing.T) {
	p := project(t, "services: {web: {image: box, container_name: one}}\n")
	w := p.Services["web"]
	w.SetScale(2)
	p.Services["web"] = w
	if _, err := Up(p, Observe(nil), Options{}); err == nil || !strings.Contains(err.Error(), "a name can be had once") {
		t.Errorf("got %v", err)
	}
}

func TestCycleOfLabels(t *testing.T) {
	g := Graph{"a": model.ParseDepends("b:service_started:false"), "b": model.ParseDepends("c"), "c": model.ParseDepends("a"), "d": nil}
	_, err := g.Waves()
	if err == nil || err.Error() != "dependency cycle detected: a -> b -> c -> a" {
		t.Errorf("got %v", err)
	}
}

// TestRenew: networks whose definition changed are made anew and what is on them
// starts again; volumes only where that was agreed to.
func TestRenew(t *testing.T) {
	p := project(t, "services:\n  a: {image: box, networks: [n]}\n  b: {image: box, volumes: [\"data:/v\"]}\nnetworks: {n: {}}\nvolumes: {data: {}}\n")
	of := func(service, kind, name string) container.Summary {
		c := have(t, p, service, 1, container.StateRunning)
		switch kind {
		case "network":
			c.NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{name: {}}}
		case "volume":
			c.Mounts = []container.MountPoint{{Type: mount.TypeVolume, Name: name, Destination: "/v"}}
			c.NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{"shop_default": {}}}
		}
		return c
	}
	state := func(hash string) *State {
		s := Observe([]container.Summary{of("a", "network", "shop_n"), of("b", "volume", "shop_data")})
		s.Wired = true
		own := func(kind, key, is string) map[string]string {
			return map[string]string{model.LabelProject: "shop", kind: key, model.LabelHash: is}
		}
		s.Networks = map[string]map[string]string{
			"shop_n":       own(model.LabelNetwork, "n", hash),
			"shop_default": own(model.LabelNetwork, "default", model.NetworkHash(p.Networks["default"])),
		}
		s.Volumes = map[string]map[string]string{"shop_data": own(model.LabelVolume, "data", hash)}
		return s
	}
	s := state("other")
	if list := DivergedVolumes(p, s); len(list) != 1 || list[0] != "data" {
		t.Errorf("diverged: %q", list)
	}
	got := text(t, p, s, Options{RenewVolumes: []string{"data"}})
	for _, want := range []string{
		"recreate  network n (its definition changed)", "recreate  volume data (its definition changed, its data are lost)",
		"start     container shop-a-1 (network shop_n changed)", "create    container shop-b-1 (volume shop_data changed)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := text(t, p, state("other"), Options{NoStart: true}); strings.Contains(got, "container shop-b-1") && !strings.Contains(got, "leave     container shop-b-1") {
		t.Errorf("the volume was not agreed to:\n%s", got)
	}
	if got := text(t, p, state(""), Options{}); !strings.Contains(got, "nothing to do") {
		t.Errorf("without a hash:\n%s", got)
	}
	s = state("")
	delete(s.Networks["shop_n"], model.LabelNetwork)
	if _, err := Up(p, s, Options{}); err == nil || err.Error() != `network shop_n was found but has incorrect label com.docker.compose.network set to "" (expected: "n")` {
		t.Errorf("got %v", err)
	}
}
