package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	f, err := Parse([]byte(`{}`))
	if err != nil || f.Downloads != 3 || f.Uploads != 5 || f.Attempts != 5 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := Parse([]byte(`{"max-layer-size":"2GB"}`)); err != nil || f.MaxLayer != 2e9 {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = Parse([]byte(`{"registry-mirrors":["https://m.example/"],"insecure-registries":["h:5000","10.0.0.0/8","fd00::/8","[::1]:5000"],"max-concurrent-downloads":7}`))
	if err != nil || f.Mirrors[0] != "https://m.example" || len(f.Insecure) != 4 || f.Downloads != 7 {
		t.Errorf("%+v, %v", f, err)
	}
	for bad, want := range map[string]string{
		``:                                    "the file is empty",
		`{"insecure-registry":[]}`:            `unknown field "insecure-registry"`,
		"{\n\n\"registry-mirrors\":[}":        "line 3: invalid character",
		"{\n\"max-download-attempts\":\"5\"}": "line 2: max-download-attempts is not to be a string",
		`{} {}`:                               "something follows the object",
		`{"registry-mirrors":["m.example"]}`:  "is to be http://HOST or https://HOST",
		`{"registry-mirrors":["https://m.example/v2"]}`:     "nothing may follow the host",
		`{"registry-mirrors":["https://me:secret@m.test"]}`: "has credentials",
		`{"registry-mirrors":["file:///etc"]}`:              "is to be http://HOST or https://HOST",
		`{"insecure-registries":["http://h"]}`:              "is to be HOST, HOST:PORT or a network",
		`{"insecure-registries":[""]}`:                      "is to be HOST, HOST:PORT or a network",
		`{"max-concurrent-downloads":0}`:                    "0 is not between 1 and 64",
		`{"max-layer-size":"much"}`:                         `"much" is not a size`,
		`{"max-layer-size":"0"}`:                            `"0" is not a size`,
		`{"max-concurrent-uploads":1000}`:                   "1000 is not between 1 and 64",
	} {
		_, err := Parse([]byte(bad))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", bad, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	if got := Path(); got != System {
		t.Errorf("without a file of the user's own: %s", got)
	}
	own := filepath.Join(dir, "coracle", "config.json")
	os.Mkdir(filepath.Dir(own), 0o755)
	if err := os.WriteFile(own, []byte(`{"x":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Path(); got != own {
		t.Errorf("got %s", got)
	}
	var e *Error
	if _, err := Load(own); !errors.As(err, &e) || e.Path != own || !strings.Contains(err.Error(), own) {
		t.Errorf("got %v", err)
	}
	if f, err := Load(filepath.Join(dir, "none")); err != nil || f.Attempts != 5 {
		t.Errorf("no file: %+v, %v", f, err)
	}
}
