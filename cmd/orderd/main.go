// Command orderd is the order service of the reference system: it accepts orders and sees each one through.
//
//	orderd                run until SIGTERM or SIGINT, then finish what runs, and end
//	orderd healthcheck    ask the one that runs whether it is ready
//	orderd --help         all settings, each also a LEVERET_ variable and a line in a file
//
// Its exit codes are those of package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Order()) }
