// Command orderd is the order service of the reference system: it accepts orders and sees each one through.
//
//	orderd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	orderd healthcheck    check whether the running orderd is ready
//	orderd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Order()) }
