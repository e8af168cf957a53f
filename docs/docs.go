// Package docs holds the generated documentation that the product carries with
// it, so that one copied file is a whole installation.
package docs

import "embed"

// Man holds the manual pages as man/*.1. They are not compressed: a page is
// about 1 kB of the binary, a fifth of that packed, and only install reads it.
//
//go:embed man/*.1
var Man embed.FS
