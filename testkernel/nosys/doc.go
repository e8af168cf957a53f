// Package nosys runs a program on this machine's kernel as if that were an
// older one: a seccomp filter answers ENOSYS to every system call that the
// older kernel did not have and EINVAL to what old calls learned later, and a
// supervisor hides the files and types of file systems that were not there.
//
// It is for finding out, in seconds and without a virtual machine, which
// fallback is missing or never worked. It does not make an old kernel's bugs
// and false successes: for these boot one, as the rest of testkernel does.
package nosys
