package rpc

// A KindError is an error of one of leveret's kinds, such as leveret.ErrNotConnected, in the words of a transport: those of
// the kinds themselves speak of a broker.
type KindError struct {
	Kind  error
	Text  string
	Cause error // nil for none
}

// Error returns the text.
func (e *KindError) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *KindError) Unwrap() error { return e.Cause }

// Is matches the kind.
func (e *KindError) Is(target error) bool { return target == e.Kind }
