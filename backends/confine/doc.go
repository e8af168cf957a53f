// Package confine holds what a container's process may not do: its
// capabilities, its system call filter, the paths it must not see or write,
// its devices and its mounts. The defaults are Docker's.
//
// One half is data for an OCI runtime spec ([Caps], [Seccomp], [Mounts],
// [MaskedPaths] …), assembled by the engine; the other half acts on the
// calling thread in a container's second stage ([DropBounding], [SetCaps],
// [LoadFilter]). Do not use the acting half in a process that goes on to do
// anything but execve(2).
package confine
