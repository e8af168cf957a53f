package format

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"coracle/image"

	"github.com/moby/moby/api/types/container"
)

func TestContainerRow(t *testing.T) {
	now := time.Unix(1700000000, 0)
	s := container.Summary{
		ID: "0123456789abcdef0123", Names: []string{"/boat"}, Image: "box", Command: "sh -c 'while true; do sleep 1; done'",
		Created: now.Unix() - 180, State: "running", Status: "Up 3 minutes", Labels: map[string]string{"b": "2", "a": "1"}, SizeRw: 2048, SizeRootFs: 5e6,
		Ports: []container.PortSummary{
			{IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
			{IP: netip.MustParseAddr("::"), PrivatePort: 80, PublicPort: 8080, Type: "tcp"}, {PrivatePort: 53, Type: "udp"},
		},
		Mounts: []container.MountPoint{{Name: "a-very-long-name-of-a-volume", Driver: "local"}, {Source: "/srv"}},
	}
	var b bytes.Buffer
	if err := Write(&b, Containers("", false, true), []Container{ContainerRow(s, true, now)}); err != nil {
		t.Fatal(err)
	}
	want := "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS                                             NAMES     SIZE\n" +
		"0123456789ab   box       \"sh -c 'while true; …\"   3 minutes ago   Up 3 minutes   53/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp   boat      2.05kB (virtual 5MB)\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	row := ContainerRow(s, true, now)
	if err := Write(&b, Containers(`{{.Labels}} {{.Label "b"}} {{.Mounts}} {{.LocalVolumes}} {{.State}}`, false, false), []Container{row}); err != nil {
		t.Fatal(err)
	}
	if want := "a=1,b=2 2 a-very-long-na…,/srv 1 running\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if long := ContainerRow(s, false, now); long.ID != s.ID || len(long.Command) < 30 {
		t.Errorf("cut without being asked to: %+v", long)
	}
}

func TestImageRows(t *testing.T) {
	now := time.Unix(1700000000, 0)
	img := &image.Image{
		ID: "sha256:0123456789abcdef", RepoTags: []string{"box:latest", "localhost:5000/x:v1"},
		RepoDigests: []string{"box@sha256:aa"}, Created: now.Add(-48 * time.Hour), Size: 1234567,
	}
	var b bytes.Buffer
	if err := Write(&b, Images("", false, true), ImageRows(img, true, now)); err != nil {
		t.Fatal(err)
	}
	want := "REPOSITORY         TAG       DIGEST      IMAGE ID       CREATED      SIZE\n" +
		"box                latest    sha256:aa   0123456789ab   2 days ago   1.23MB\n" +
		"localhost:5000/x   v1        <none>      0123456789ab   2 days ago   1.23MB\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	rows := ImageRows(&image.Image{ID: "sha256:01"}, true, now)
	if len(rows) != 1 || rows[0].Repository != "<none>" || rows[0].Tag != "<none>" || rows[0].CreatedSince != "N/A" {
		t.Errorf("%+v", rows)
	}
}
