// Package machine says what figures were measured on.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Load returns the number of CPUs that the program may use and, where the system reports it, the load: how many
// processes ran or were ready to, on average over the last minute. Figures that were taken beside other work cannot be
// compared.
func Load() string {
	text := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	averages, _ := os.ReadFile("/proc/loadavg")
	if load := strings.Fields(string(averages)); len(load) > 0 {
		text += ", load " + load[0]
	}
	return text
}
