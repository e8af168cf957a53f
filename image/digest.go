package image

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strings"

	"coracle/image/name"
)

func isSHA256(digest string) bool {
	return strings.HasPrefix(digest, "sha256:") && name.IsDigest(digest)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sumOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// chainIDs are the OCI image specification's (config.md, "Layer ChainID").
func chainIDs(diffIDs []string) []string {
	out := make([]string, len(diffIDs))
	for i, d := range diffIDs {
		if i == 0 {
			out[i] = d
			continue
		}
		out[i] = digestOf([]byte(out[i-1] + " " + d))
	}
	return out
}
