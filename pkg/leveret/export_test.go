package leveret

import "time"

// DeclareOnce keeps a worker from declaring again what it needs, for as long as a test takes.
func (w *Worker) DeclareOnce() { w.redeclareEvery = time.Hour }
