// Package sys holds coracle's raw system calls: the few that golang.org/x/sys
// does not wrap, or wraps in a way that fails on the oldest kernels we serve
// (KERNELS.md). Every function retries EINTR and returns an *os.PathError or an
// *os.SyscallError, so that the errno stays reachable through errors.Is.
//
// Use golang.org/x/sys/unix directly where it already does the right thing.
package sys
