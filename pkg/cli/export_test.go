package cli

import "time"

// Tests interrupt commands on a machine that may be busy.
func init() { lastWait = time.Minute }
