package engine

import (
	"context"

	"coracle/image/box"
)

// isBuiltin tells whether ref names the image that is made of this program.
func isBuiltin(ref string) bool { return box.IsBox(ref) }

// builtin makes the built-in image present.
func (e *Engine) builtin(ctx context.Context) error {
	_, err := box.Ensure(ctx, e.images)
	return err
}
