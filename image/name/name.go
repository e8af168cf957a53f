// Package name reads image names as Docker writes them: "debian" is
// docker.io/library/debian:latest. It uses no regular expressions, so that it
// costs nothing at a program's start. It does not look anything up.
package name

import (
	"errors"
	"fmt"
	"strings"
)

// The sentinels; their texts are Docker's.
var (
	ErrFormat = errors.New("invalid reference format")
	ErrHexID  = errors.New("invalid repository name")
)

const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io"
	officialRepo  = "library"
	defaultTag    = "latest"

	maxName = 255 // distribution spec: repository names, domain included
	maxTag  = 128
)

// Ref is a normalised reference.
type Ref struct {
	Domain string // "docker.io"
	Path   string // "library/debian"
	Tag    string // "" for none
	Digest string // "sha256:…" or ""
}

// Parse reads s as a user writes it. Neither a tag nor a digest is made up:
// see WithTag.
func Parse(s string) (Ref, error) {
	if isHex(s, 64) {
		return Ref{}, fmt.Errorf("%w (%s), cannot specify 64-byte hexadecimal strings", ErrHexID, s)
	}
	domain, rest := split(s)
	repo, _, _ := strings.Cut(rest, ":")
	if at := strings.IndexByte(repo, '@'); at >= 0 {
		repo = repo[:at]
	}
	if strings.ToLower(repo) != repo {
		return Ref{}, fmt.Errorf("%w: repository name (%s) must be lowercase", ErrFormat, repo)
	}
	r := Ref{Domain: domain}
	if at := strings.IndexByte(rest, '@'); at >= 0 {
		if r.Digest = rest[at+1:]; !IsDigest(r.Digest) {
			return Ref{}, ErrFormat
		}
		rest = rest[:at]
	}
	if colon := strings.IndexByte(rest, ':'); colon >= 0 {
		if r.Tag = rest[colon+1:]; !isTag(r.Tag) {
			return Ref{}, ErrFormat
		}
		rest = rest[:colon]
	}
	r.Path = rest
	if !isDomain(domain) || !isPath(rest) {
		return Ref{}, ErrFormat
	}
	if len(domain)+1+len(rest) > maxName {
		return Ref{}, fmt.Errorf("repository name must not be more than %d characters: %w", maxName, ErrFormat)
	}
	return r, nil
}

// split parts the domain from the rest: what stands before the first slash is
// one when it has a dot, a colon or a capital, or is "localhost".
func split(s string) (domain, rest string) {
	domain, rest = defaultDomain, s
	if i := strings.IndexByte(s, '/'); i >= 0 {
		if first := s[:i]; strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first {
			domain, rest = first, s[i+1:]
		}
	}
	if domain == legacyDomain {
		domain = defaultDomain
	}
	if domain == defaultDomain && !strings.Contains(rest, "/") {
		rest = officialRepo + "/" + rest
	}
	return domain, rest
}

// WithTag is r with the tag "latest" where it has neither tag nor digest.
func (r Ref) WithTag() Ref {
	if r.Tag == "" && r.Digest == "" {
		r.Tag = defaultTag
	}
	return r
}

// Repo is r without tag and digest, in full.
func (r Ref) Repo() string { return r.Domain + "/" + r.Path }

// String is r in full: "docker.io/library/debian:12".
func (r Ref) String() string { return r.Repo() + r.suffix() }

// FamiliarRepo is Repo as Docker shows it: "debian".
func (r Ref) FamiliarRepo() string {
	if r.Domain != defaultDomain {
		return r.Repo()
	}
	if p, ok := strings.CutPrefix(r.Path, officialRepo+"/"); ok && !strings.Contains(p, "/") {
		return p
	}
	return r.Path
}

// Familiar is r as Docker shows it: "debian:12".
func (r Ref) Familiar() string { return r.FamiliarRepo() + r.suffix() }

func (r Ref) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// IsDigest tells whether s is a digest of an algorithm that is in use.
func IsDigest(s string) bool {
	alg, hex, ok := strings.Cut(s, ":")
	if !ok {
		return false
	}
	switch alg {
	case "sha256":
		return isHex(hex, 64)
	case "sha384":
		return isHex(hex, 96)
	case "sha512":
		return isHex(hex, 128)
	}
	return false
}

// IsIDPrefix tells whether s can be the beginning of an image ID, and gives it
// with "sha256:" before it.
func IsIDPrefix(s string) (string, bool) {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) == 0 || len(s) > 64 || !isHex(s, len(s)) {
		return "", false
	}
	return "sha256:" + s, true
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func lowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isTag(s string) bool {
	if len(s) == 0 || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letterOrDigit(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func letterOrDigit(c byte) bool { return lowerOrDigit(c) || c >= 'A' && c <= 'Z' }

// isPath checks components of [a-z0-9]+ parted by ".", "_", "__" or dashes.
func isPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !lowerOrDigit(part[0]) || !lowerOrDigit(part[len(part)-1]) {
			return false
		}
		for i := 0; i < len(part); {
			if lowerOrDigit(part[i]) {
				i++
				continue
			}
			j := i
			for !lowerOrDigit(part[j]) {
				j++
			}
			sep := part[i:j]
			if sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
				return false
			}
			i = j
		}
	}
	return true
}

func isDomain(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if port == "" || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if strings.HasPrefix(host, "[") {
		inner := strings.TrimSuffix(host[1:], "]")
		return len(inner) == len(host)-2 && inner != "" && strings.Trim(inner, "0123456789abcdefABCDEF:") == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !letterOrDigit(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}
