package engine

// Places are the two directories that opt means, absolute: of durable state,
// and of what does not outlive a boot.
func Places(opt Options) (root, run string, err error) {
	return directories(opt.Root, opt.Run)
}
