// Package testmain holds what the TestMain of several packages share.
package testmain

import (
	"flag"
	"runtime"
	"strconv"

	"go.uber.org/goleak"
)

// Proxies lets goleak pass what toxiproxy leaves behind: a proxy that is stopped while data passes keeps a goroutine that
// can hand it to nobody.
func Proxies() goleak.Option {
	return goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe")
}

// Waiting is for the TestMain of a package whose tests mostly wait: for a broker that starts, a message that comes back
// later, a process that ends. By default Go runs as many tests at once as there are CPUs, which then are idle; from here
// on it is n, unless there are more CPUs. The flag -parallel of `go test` overrides both. Call it before the flags are
// parsed, which is what testing.M.Run does.
func Waiting(n int) {
	_ = flag.Set("test.parallel", strconv.Itoa(max(n, runtime.GOMAXPROCS(0)))) // known to every test binary
}
