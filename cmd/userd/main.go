// Command userd is the user service of the reference system: it knows the customers.
//
//	userd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	userd healthcheck    check whether the running userd is ready
//	userd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.User()) }
