// Package probe finds out what this kernel, this machine and this user can do,
// by doing it and undoing it, never by comparing version numbers:
// distributions back-port, and several old calls say "ok" and do nothing.
//
// Callers ask [Run] for a [Report], which is cached per boot, user and state
// directory. A finding is a fact, not a promise: an operation is still tried,
// and its error explained with the report afterwards.
package probe
