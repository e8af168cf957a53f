package image

// Dir is the directory of the store: for what others keep beside its files
// under names of their own, and to see that nothing has changed.
func (s *Store) Dir() string { return s.dir }
