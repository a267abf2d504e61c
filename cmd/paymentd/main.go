// Command paymentd is the payment service of the reference system: it authorises, captures, voids and refunds payments.
//
//	paymentd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	paymentd healthcheck    check whether the running paymentd is ready
//	paymentd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Payment()) }
