package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"coracle/image"
)

// TestRemoveImage: an image that a container uses, with Docker's texts.
func TestRemoveImage(t *testing.T) {
	h := newHarness(t, "")
	ctx := context.Background()
	img, err := h.Images().Get(ctx, "testbox", "")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(ref string, force bool, want string) {
		t.Helper()
		lines, err := h.open().Images().Remove(ctx, ref, image.RemoveOptions{Force: force})
		if !errors.Is(err, image.ErrConflict) || err.Error() != want || len(lines) > 0 {
			t.Errorf("remove %s: %q, %v\nwant %s", ref, lines, err, want)
		}
	}
	is := func(ref string, force bool, want ...string) {
		t.Helper()
		lines, err := h.open().Images().Remove(ctx, ref, image.RemoveOptions{Force: force})
		if err != nil || len(lines) < len(want) || !slices.Equal(lines[:len(want)], want) {
			t.Errorf("remove %s: %q, %v, want %q", ref, lines, err, want)
		}
	}
	short := strings.TrimPrefix(img.ID, "sha256:")[:12]
	id := h.create(wanted{args: []string{"sleep", "60"}})
	byName := `conflict: unable to remove repository reference "testbox" (must force) - container ` + id[:12] + ` is using its referenced image ` + short
	refused("testbox", false, byName)
	refused(short, false, `conflict: unable to delete `+short+` (must be forced) - image is being used by stopped container `+id[:12])
	// A name of several may go.
	if err := h.Images().Tag(ctx, "testbox", "other:1"); err != nil {
		t.Fatal(err)
	}
	refused(short, false, `conflict: unable to delete `+short+` (must be forced) - image is referenced in multiple repositories`)
	is("other:1", false, "Untagged: other:1")
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	refused("testbox", false, byName)
	for _, force := range []bool{false, true} {
		refused(short, force, `conflict: unable to delete `+short+` (cannot be forced) - image is being used by running container `+id[:12])
	}
	// Forced, a running container's image loses its name and stays.
	is("testbox", true, "Untagged: testbox:latest")
	if got, err := h.Images().Get(ctx, short, ""); err != nil || len(got.RepoTags) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	zero := 0
	if err := h.open().Stop(ctx, id, "", &zero); err != nil {
		t.Fatal(err)
	}
	if err := h.Images().Tag(ctx, short, "again"); err != nil {
		t.Fatal(err)
	}
	is("again", true, "Untagged: again:latest", "Deleted: "+img.ID)
	// The container outlives it.
	if err := h.open().Start(ctx, id); err != nil {
		t.Errorf("start without the image: %v", err)
	}
	if out, code, err := h.execIn(id, "cat /etc/plain"); err != nil || code != 0 || out != "plain\n" {
		t.Errorf("%q, code %d, %v", out, code, err)
	}
}
