// Package nosys runs a program on this machine's kernel as if that were an
// older one: a seccomp filter answers ENOSYS to every system call that the
// older kernel did not have and EINVAL to what old calls learned later, and a
// supervisor hides the files and types of file systems that were not there.
//
// Calls stand in syscalls.tsv, options of old calls in options.tsv, and what is
// found by a string in unseen.tsv: types and options of mounts, controllers and
// files of control groups, paths in /proc, /sys and /dev, attributes. As root it
// takes mounts of control groups away that the kernel would not have had. What is
// not withheld all the same it lists when it is traced (leaks).
//
// It is for finding out, in seconds and without a virtual machine, which
// fallback is missing or never worked. It does not make an old kernel's bugs,
// and of its false successes only O_PATH's: for these boot one, as the rest of
// testkernel does.
package nosys
