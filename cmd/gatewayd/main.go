// Command gatewayd is the shop's REST API, for its customers.
//
//	gatewayd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	gatewayd healthcheck    check whether the running gatewayd is ready
//	gatewayd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Gateway()) }
