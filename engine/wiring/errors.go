package wiring

// The classes of errors that are the caller's to know; the engine gives each
// Docker's status.
type (
	// NotFound: 404.
	NotFound struct{ Err error }
	// Conflict: 409.
	Conflict struct{ Err error }
	// Refusal: 400.
	Refusal struct{ Err error }
	// Forbidden: 403.
	Forbidden struct{ Err error }
	// Unavailable: 501.
	Unavailable struct{ Err error }
)

func (e *NotFound) Error() string    { return e.Err.Error() }
func (e *Conflict) Error() string    { return e.Err.Error() }
func (e *Refusal) Error() string     { return e.Err.Error() }
func (e *Forbidden) Error() string   { return e.Err.Error() }
func (e *Unavailable) Error() string { return e.Err.Error() }

func (e *NotFound) Unwrap() error    { return e.Err }
func (e *Conflict) Unwrap() error    { return e.Err }
func (e *Refusal) Unwrap() error     { return e.Err }
func (e *Forbidden) Unwrap() error   { return e.Err }
func (e *Unavailable) Unwrap() error { return e.Err }
