// Command inventoryd is the inventory service of the reference system: it keeps the stock and sets goods aside.
//
//	inventoryd                run until SIGTERM or SIGINT, then finish what runs, and end
//	inventoryd healthcheck    ask the one that runs whether it is ready
//	inventoryd --help         all settings, each also a LEVERET_ variable and a line in a file
//
// Its exit codes are those of package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Inventory()) }
