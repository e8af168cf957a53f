// Package inits has tests that run generated units under the real init systems
// and supervisors of Debian: each in a machine of its own, made of namespaces, of
// a root filesystem of its own, or of QEMU.
package inits
