package opts

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnv(t *testing.T) {
	t.Setenv("CORACLE_TEST_SET", "ours")
	for _, tc := range []struct {
		name, file string
		vars       []string
		want       []string
		failure    string
	}{
		{"plain", "A=1\nB=2 \n", nil, []string{"A=1", "B=2 "}, ""},
		{"comments and blank lines", "# A=1\n\n  # x\n  B=2\n", nil, []string{"B=2"}, ""},
		{"byte order mark", "\xef\xbb\xbfA=1\n", nil, []string{"A=1"}, ""},
		{"looked up", "CORACLE_TEST_SET\nCORACLE_TEST_UNSET\n", nil, []string{"CORACLE_TEST_SET=ours"}, ""},
		{"flags come last", "A=1\n", []string{"A=2", "CORACLE_TEST_SET", "CORACLE_TEST_UNSET", "E="}, []string{"A=1", "A=2", "CORACLE_TEST_SET=ours", "CORACLE_TEST_UNSET", "E="}, ""},
		{"quotes stay", "A='1'\n", nil, []string{"A='1'"}, ""},
		{"no name", "=x\n", nil, nil, "no variable name on line '=x'"},
		{"space in name", "A B=1\n", nil, nil, "variable 'A B' contains whitespaces"},
		{"not text", "A=\xff\n", nil, nil, "invalid utf8 bytes at line 1"},
		{"no name in flag", "", []string{"=x"}, nil, "invalid environment variable: =x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Env([]string{file(t, tc.file)}, tc.vars)
			if tc.failure != "" {
				if err == nil || !strings.Contains(err.Error(), tc.failure) {
					t.Fatalf("error %v, want %q", err, tc.failure)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
	if _, err := Env([]string{"/nonexistent/env"}, nil); err == nil || err.Error() != "open /nonexistent/env: no such file or directory" {
		t.Errorf("missing file: %v", err)
	}
}

func TestLabels(t *testing.T) {
	got, err := Labels([]string{file(t, "a=1\nb\n")}, []string{"a=2", "c=x=y"})
	if err != nil || !reflect.DeepEqual(got, map[string]string{"a": "2", "b": "", "c": "x=y"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "64m": 64 << 20, "1.5g": 3 << 29, "1024": 1024, "4b": 4, "1kb": 1024} {
		if got, err := Bytes(in); err != nil || got != want {
			t.Errorf("Bytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	if _, err := Bytes("abc"); err == nil || err.Error() != "invalid size: 'abc'" {
		t.Errorf("Bytes(abc): %v", err)
	}
	if n, err := Swap("-1"); n != -1 || err != nil {
		t.Errorf("Swap(-1) = %d, %v", n, err)
	}
	for in, want := range map[string]int64{"": 0, "1": 1e9, "0.5": 5e8, ".25": 25e7, "1/4": 25e7, "-1": -1e9} {
		if got, err := CPUs(in); err != nil || got != want {
			t.Errorf("CPUs(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "0.0000000001", "1e30"} {
		if got, err := CPUs(in); err == nil {
			t.Errorf("CPUs(%q) = %d", in, got)
		}
	}
}

func TestVolumes(t *testing.T) {
	wd, _ := os.Getwd()
	binds, anon, err := Volumes([]string{"/a:/b:ro", "vol:/c", "/d", "./x:/y"})
	if err != nil || !reflect.DeepEqual(binds, []string{"/a:/b:ro", "vol:/c", wd + "/x:/y"}) || len(anon) != 1 {
		t.Errorf("%q %v %v", binds, anon, err)
	}
	for _, bad := range []string{"", ":/a", "/a:"} {
		if _, _, err := Volumes([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestMount(t *testing.T) {
	m, err := Mount("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave")
	if err != nil || m.Source != "/a" || m.Target != "/b" || !m.ReadOnly || m.BindOptions.Propagation != "rslave" {
		t.Errorf("%+v %v", m, err)
	}
	m, err = Mount(`type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770`)
	if err != nil || m.TmpfsOptions.SizeBytes != 1<<20 || m.TmpfsOptions.Mode != 0o1770 {
		t.Errorf("%+v %v", m, err)
	}
	m, err = Mount(`"src=a,b",dst=/t,volume-nocopy`)
	if err != nil || m.Type != "volume" || m.Source != "a,b" || !m.VolumeOptions.NoCopy {
		t.Errorf("%+v %v", m, err)
	}
	for in, want := range map[string]string{
		"type=bind,x":                     "invalid field 'x' must be a key=value pair",
		"type=bind,foo=1,dst=/x":          "unexpected key 'foo' in 'foo=1'",
		"type=bind,src=/a":                "target is required",
		"type=tmpfs,dst=/x,volume-nocopy": "cannot mix",
		"dst=/x,ro=maybe":                 "invalid value for ro: maybe",
		"":                                "EOF",
	} {
		if _, err := Mount(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Mount(%q): %v, want %q", in, err, want)
		}
	}
}

func TestSmallOnes(t *testing.T) {
	for in, want := range map[string]string{"/dev/a": "/dev/a /dev/a rwm", "/dev/a:/dev/b": "/dev/a /dev/b rwm", "/dev/a:r": "/dev/a /dev/a r", "/dev/a:/dev/b:rw": "/dev/a /dev/b rw"} {
		d, err := Device(in)
		if got := d.PathOnHost + " " + d.PathInContainer + " " + d.CgroupPermissions; err != nil || got != want {
			t.Errorf("Device(%q) = %s, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "a", "/dev/a:/dev/b:rr", "a:b:c:d"} {
		if d, err := Device(bad); err == nil {
			t.Errorf("Device(%q) = %v", bad, d)
		}
	}
	h, err := Hosts([]string{"a:1.2.3.4", "b:::1", "c=host-gateway", "d:[::2]"})
	if err != nil || !reflect.DeepEqual(h, []string{"a:1.2.3.4", "b:::1", "c:host-gateway", "d:::2"}) {
		t.Errorf("Hosts: %q %v", h, err)
	}
	if _, err := Hosts([]string{"a:x"}); err == nil || err.Error() != `invalid IP address in add-host: "x"` {
		t.Errorf("Hosts: %v", err)
	}
	k, err := Keys("ctrl-p,ctrl-q,a,ctrl-@")
	if err != nil || string(k) != "\x10\x11a\x00" {
		t.Errorf("Keys: %q %v", k, err)
	}
	if _, err := Keys("ctrl-1"); err == nil {
		t.Error("Keys(ctrl-1) is taken")
	}
	f := map[string][]string{}
	if err := Filter(f, "Label=a=b"); err != nil || f["label"][0] != "a=b" {
		t.Errorf("Filter: %v %v", f, err)
	}
	if err := Filter(f, "x"); err == nil || err.Error() != "bad format of filter (expected name=value)" {
		t.Errorf("Filter: %v", err)
	}
	u, err := Ulimits([]string{"nofile=1:2", "nofile=3:4"})
	if err != nil || len(u) != 1 || u[0].Soft != 3 {
		t.Errorf("Ulimits: %v %v", u, err)
	}
}

func TestSecurityOpts(t *testing.T) {
	got, open, err := SecurityOpts([]string{"no-new-privileges", "seccomp=unconfined", "seccomp=" + file(t, "{}"), "apparmor:x", "systempaths=unconfined"})
	if err != nil || !open || !reflect.DeepEqual(got, []string{"no-new-privileges", "seccomp=unconfined", "seccomp={}", "apparmor=x"}) {
		t.Errorf("%q %v %v", got, open, err)
	}
	if _, _, err := SecurityOpts([]string{"seccomp=/nonexistent"}); err == nil || !strings.Contains(err.Error(), "opening seccomp profile (/nonexistent) failed") {
		t.Error(err)
	}
	if _, _, err := SecurityOpts([]string{"nonsense"}); err == nil {
		t.Error("nonsense is taken")
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"":                          {},
		"42m":                       now.Add(-42 * time.Minute),
		"2013-01-02T13:23:37Z":      time.Date(2013, 1, 2, 13, 23, 37, 0, time.UTC),
		"2013-01-02T13:23:37.5Z":    time.Date(2013, 1, 2, 13, 23, 37, 5e8, time.UTC),
		"2013-01-02T13:23:37":       time.Date(2013, 1, 2, 13, 23, 37, 0, time.Local),
		"2013-01-02":                time.Date(2013, 1, 2, 0, 0, 0, 0, time.Local),
		"1136073600":                time.Unix(1136073600, 0),
		"1136073600.000000001":      time.Unix(1136073600, 1),
		"1136073600.5":              time.Unix(1136073600, 5e8),
		"2013-01-02T13:23:37+02:00": time.Date(2013, 1, 2, 11, 23, 37, 0, time.UTC),
	} {
		if got, err := When(in, now); err != nil || !got.Equal(want) {
			t.Errorf("When(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"x", "1.x", "yesterday"} {
		if got, err := When(bad, now); err == nil {
			t.Errorf("When(%q) = %v", bad, got)
		}
	}
}
