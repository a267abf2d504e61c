// Command hellod is the service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"

	"github.com/leveretmq/leveret/examples/hello"
)

func main() { service.Main(hello.Program()) }
