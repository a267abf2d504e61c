// Package testmain holds what the TestMain of several packages share.
package testmain

import (
	"flag"
	"runtime"
	"strconv"
)

// StoppedProxy is the function in which toxiproxy leaves a goroutine behind, for goleak.IgnoreTopFunction: a proxy that is
// stopped while data passes can hand it to nobody.
const StoppedProxy = "github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"

// Waiting is for the TestMain of a package whose tests mostly wait: for a broker that starts, a message that comes back
// later, a process that ends. By default Go runs as many tests at once as there are CPUs, which then are idle; from here
// on it is n, unless there are more CPUs. The flag -parallel of `go test` overrides both. Call it before the flags are
// parsed, which is what testing.M.Run does.
func Waiting(n int) {
	_ = flag.Set("test.parallel", strconv.Itoa(max(n, runtime.GOMAXPROCS(0)))) // known to every test binary
}
