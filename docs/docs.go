// Package docs holds the generated documentation that the product carries with
// it, so that one copied file is a whole installation.
package docs

import "embed"

// Man holds the manual pages as man/*.1. They are not compressed: 23 pages are
// 23 kB of the binary, 5 kB packed, and text can be read and diffed in the tree.
//
//go:embed man/*.1
var Man embed.FS
