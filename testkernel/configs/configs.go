// Package configs holds the kernel configurations that testkernel builds from:
// base.config has all that coracle can use, each other fragment takes something
// from it, and each patch makes an option of what the kernel has none for, or an
// option cheaper to change.
package configs

import "embed"

// Files are the fragments (*.config) and the patches (*.patch).
//
//go:embed *.config *.patch
var Files embed.FS
