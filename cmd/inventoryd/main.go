// Command inventoryd is the inventory service of the reference system: it keeps the stock and sets goods aside.
//
//	inventoryd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	inventoryd healthcheck    check whether the running inventoryd is ready
//	inventoryd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Inventory()) }
