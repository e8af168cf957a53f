// Package tree removes, copies and measures directory trees that strangers
// filled: by descriptors and single names, never by long paths, so that neither
// symbolic links nor depth lead it astray.
//
// Copy expects a source that nobody changes meanwhile: it is for trees inside
// the state directory, not for the host's own files.
package tree
