package load

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestErrors: one line that says where and what.
func TestErrors(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i, name := range []string{"b", "c", "d", "e", "f", "g"} {
		last := string(rune('a' + i))
		bomb += name + ": &" + name + " [" + strings.Repeat("*"+last+",", 8) + "*" + last + "]\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"key", "services:\n  web:\n    image: box\n   ports: [1]\n", "FILE:4:4: did not find expected key"},
		{"quote", "services:\n  web:\n    image: \"box\n", "FILE:4:1: found unexpected end of stream"},
		{"tab", "services:\n\tweb: 1\n", "FILE:2:1: indented with a tab: YAML wants spaces"},
		{"network", "services:\n  web:\n    image: box\n    networks: [nono]\n", `service "web" refers to undefined network nono: declare it under networks`},
		{"volume", "services:\n  web:\n    image: box\n    volumes: [nono:/x]\n", `service "web" refers to undefined volume nono: declare it under volumes`},
		{"secret", "services:\n  web:\n    image: box\n    secrets: [nono]\n", `service "web" refers to undefined secret nono: declare it under secrets`},
		{"service", "services:\n  web:\n    image: box\n    depends_on: [nono]\n", `service "web" depends on undefined service "nono"`},
		{"cycle", "services:\n  a: {image: box, depends_on: [b]}\n  b: {image: box, depends_on: [c]}\n  c: {image: box, depends_on: [a]}\n", "dependency cycle detected: a -> b -> c -> a"},
		{"extends", "services:\n  a: {extends: a}\n", "circular extends: a in FILE extends a in FILE"},
		{"flow", "services:\n  web:\n    ports: [1\n    image: x\n", "FILE:4:10: did not find expected ',' or ']'"},
		{"required", "services:\n  a:\n    image: \"${X:?must be set}\"\n", "error while interpolating services.a.image: required variable X is missing a value: must be set"},
		{"interpolation", "services:\n  a:\n    image: \"${X\"\n", `invalid interpolation format for services.a.image: "${X"; write $$ where a dollar sign is meant`},
		{"type", "services:\n  a:\n    image: box\n    ports: foo\n", "validating FILE: services.a.ports must be a array"},
		{"attribute", "services:\n  a:\n    image: box\n    foo: 1\n", "validating FILE: services.a additional properties 'foo' not allowed"},
		{"image", "services:\n  a:\n    command: x\n", `service "a" has no image: name one under image`},
		{"bomb", bomb, `FILE:7:8: alias "f" makes the file grow to more than 200000 values`},
		{"self", "a: &a\n  b: *a\n", `FILE:2:6: anchor "a" contains itself`},
		{"empty", "", "empty compose file"},
		{"huge", strings.Repeat("# 456789\n", 10<<20/9), "FILE: 10485756 bytes; a Compose file may have 4194304: split it with include"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "compose.yaml", tc.text)
			begin := time.Now()
			_, err := Load(context.Background(), Options{Files: []string{path}})
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if d := time.Since(begin); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestLoad: what docker compose users rely on, in one project.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TAG", "")
	os.Unsetenv("TAG")
	write(t, dir, ".env", "TAG=7\nCOMPOSE_PROJECT_NAME=shop\nCOMPOSE_PROFILES=extra\n")
	write(t, dir, "base.yaml", "services:\n  worker:\n    image: box:${TAG}\n    environment: {A: base, B: base}\n    command: [sleep, '1']\n")
	write(t, dir, "more.yaml", "services:\n  more: {image: box}\n")
	write(t, dir, "compose.yaml", `
include: [more.yaml]
x-env: &env {SHARED: "1"}
services:
  worker:
    extends: {file: base.yaml, service: worker}
    environment: {<<: *env, B: own}
    scale: 3
  debug: {image: box, profiles: [extra]}
  off: {image: box, profiles: [never]}
  web:
    image: box
    ports: ["8080:80", "53:53/udp"]
    depends_on: {worker: {condition: service_healthy, restart: true}}
`)
	write(t, dir, "compose.override.yaml", "services:\n  web:\n    ports: !override [\"81:80\"]\n    command: [x]\n  worker:\n    command: !reset null\n")
	t.Chdir(dir)
	var warned []string
	p, err := Load(context.Background(), Options{Warn: func(s string) { warned = append(warned, s) }})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "shop" {
		t.Errorf("name %q", p.Name)
	}
	names := p.ServiceNames()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "debug more web worker" {
		t.Errorf("services: %s", got)
	}
	w := p.Services["worker"]
	if w.Image != "box:7" || w.GetScale() != 3 || w.Command != nil || *w.Environment["B"] != "own" || *w.Environment["A"] != "base" || *w.Environment["SHARED"] != "1" {
		t.Errorf("worker: %+v", w)
	}
	if ports := p.Services["web"].Ports; len(ports) != 1 || ports[0].Published != "81" {
		t.Errorf("ports: %+v", ports)
	}
	if d := p.Services["web"].DependsOn["worker"]; d.Condition != "service_healthy" || !d.Restart || !d.Required {
		t.Errorf("depends_on: %+v", d)
	}
	if len(warned) > 0 {
		t.Errorf("warned: %q", warned)
	}
}

// TestReported: what nobody honours is named.
func TestReported(t *testing.T) {
	path := write(t, t.TempDir(), "compose.yaml", "version: '3'\nservices:\n  a:\n    image: box\n    command: $UNSET_HERE\n    deploy: {placement: {constraints: [x==y]}}\n    develop: {watch: [{path: ., action: sync, target: /x}]}\n")
	var warned []string
	if _, err := Load(context.Background(), Options{Files: []string{path}, Warn: func(s string) { warned = append(warned, s) }}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"services.a.deploy.placement: not honoured: there is one machine", "services.a.develop: not honoured: nothing is watched",
		`The "UNSET_HERE" variable is not set. Defaulting to a blank string.`,
		path + ": the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion",
	} {
		if !slices.Contains(warned, want) {
			t.Errorf("not warned of %q: %q", want, warned)
		}
	}
}

func TestNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(context.Background(), Options{}); err != ErrNoFile {
		t.Errorf("got %v", err)
	}
}

// TestRaw: the format of docker run --env-file, for env_file.
func TestRaw(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PASSED", "on")
	write(t, dir, "raw.env", "\ufeffA='kept $A'\n  # note\nB=\nPASSED\nABSENT\n")
	file := func(name string) string {
		return "services:\n  a:\n    image: box\n    env_file: [{path: " + name + ", format: raw}]\n"
	}
	p, err := Load(context.Background(), Options{Files: []string{write(t, dir, "compose.yaml", file("raw.env"))}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for k, v := range p.Services["a"].Environment {
		got = append(got, k+"="+*v)
	}
	slices.Sort(got)
	if text := strings.Join(got, "|"); text != "A='kept $A'|B=|PASSED=on" {
		t.Errorf("got %s", text)
	}
	for text, want := range map[string]string{"=x\n": "bad.env:1: no variable name on line '=x'", "\nA B=x\n": "bad.env:2: variable 'A B' contains whitespaces"} {
		write(t, dir, "bad.env", text)
		_, err := Load(context.Background(), Options{Files: []string{write(t, dir, "compose.yaml", file("bad.env"))}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
