package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"coracle/image/codec"
	"coracle/image/name"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// v1 is a layer's json in archives of Docker before 1.10, whose layers were images
// with parents.
type v1 struct {
	ID              string
	Parent          string
	Created         *time.Time
	Author          string
	Comment         string
	ContainerConfig struct{ Cmd []string } `json:"container_config"`
	raw             []byte
	file            *File
}

// step is a line of history, with its fields in Docker's order: an image's ID is
// the digest of the bytes.
type step struct {
	Created   *time.Time `json:"created,omitempty"`
	Author    string     `json:"author,omitempty"`
	CreatedBy string     `json:"created_by,omitempty"`
	Comment   string     `json:"comment,omitempty"`
}

// legacy reads the file repositories, names to tags to top layers, and makes each
// top layer's json the config that Docker would since make of it.
func (a *Archive) legacy(ctx context.Context) ([]Image, error) {
	var repos map[string]map[string]string
	if err := a.json("repositories", &repos); err != nil {
		return nil, err
	}
	names := map[string][]name.Ref{}
	for repo, tags := range repos {
		for tag, id := range tags {
			n, err := name.Parse(repo + ":" + tag)
			if err != nil {
				return nil, invalid("name %q: %w", repo+":"+tag, err)
			}
			names[id] = append(names[id], n)
		}
	}
	ids := make([]string, 0, len(names))
	for id := range names {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var out []Image
	for _, id := range ids {
		img, err := a.legacyImage(ctx, id)
		if err != nil {
			return nil, err
		}
		img.Names = names[id]
		out = append(out, img)
	}
	return out, nil
}

func (a *Archive) legacyImage(ctx context.Context, top string) (img Image, err error) {
	chain, err := a.parents(top)
	if err != nil {
		return img, err
	}
	root := ocispec.RootFS{Type: "layers"}
	var history []step
	for _, l := range chain {
		diff := l.file.Digest
		if l.file.Kind != codec.Plain {
			if diff, err = l.file.unpackedDigest(ctx, a.most); err != nil {
				return img, err
			}
			l.file.diffID = diff
		}
		root.DiffIDs = append(root.DiffIDs, digest.Digest(diff))
		history = append(history, step{l.Created, l.Author, strings.Join(l.ContainerConfig.Cmd, " "), l.Comment})
		img.Layers = append(img.Layers, Layer{File: l.file, MediaType: mediaType(l.file.Kind)})
	}
	if img.Raw, err = modern(chain[len(chain)-1].raw, root, history); err != nil {
		return img, invalid("%s/json: %w", top, err)
	}
	sum := sha256.Sum256(img.Raw)
	img.Config = &File{Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(img.Raw))}
	return img, nil
}

// parents lists the layers that lead to top, base first.
func (a *Archive) parents(top string) ([]*v1, error) {
	var chain []*v1
	seen := map[string]bool{}
	for id := top; id != ""; {
		if hexID, ok := name.IsIDPrefix(id); !ok || len(hexID) != len("sha256:")+64 || seen[id] {
			return nil, invalid("layer ID %q", id)
		}
		seen[id] = true
		if len(chain) >= maxLayers {
			return nil, invalid("more than %d layers", maxLayers)
		}
		f, err := a.lookup(id + "/json")
		if err != nil {
			return nil, err
		}
		l := &v1{}
		if l.raw, err = a.small(f, id+"/json"); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(l.raw, l); err != nil {
			return nil, invalid("%s/json: %w", id, err)
		}
		if l.file, err = a.lookup(id + "/layer.tar"); err != nil {
			return nil, err
		}
		chain = append(chain, l)
		id = l.Parent
	}
	slices.Reverse(chain)
	return chain, nil
}

// modern is a config of image specification 1.2 made of one of version 1: without
// what named its layer, and with its layers and their history.
func modern(raw []byte, root ocispec.RootFS, history []step) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, err
	}
	for _, key := range []string{"id", "parent", "Size", "parent_id", "layer_id", "throwaway"} {
		delete(c, key)
	}
	var err error
	if c["rootfs"], err = json.Marshal(root); err != nil {
		return nil, err
	}
	if c["history"], err = json.Marshal(history); err != nil {
		return nil, err
	}
	return json.Marshal(c)
}
