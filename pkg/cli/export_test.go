package cli

import "time"

// WaitLonger is for tests that interrupt commands on a machine that may be busy.
func WaitLonger() { lastWait = time.Minute }
