package leveret

import "time"

// DeclareEvery makes a worker declare again what it needs so often.
func (w *Worker) DeclareEvery(d time.Duration) { w.redeclareEvery = d }
