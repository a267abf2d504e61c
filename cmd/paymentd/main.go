// Command paymentd is the payment service of the reference system: it holds, charges and gives back money.
//
//	paymentd                run until SIGTERM or SIGINT, then finish what runs, and end
//	paymentd healthcheck    ask the one that runs whether it is ready
//	paymentd --help         all settings, each also a LEVERET_ variable and a line in a file
//
// Its exit codes are those of package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Payment()) }
