// Command notifyd is the notification service of the reference system: it listens to events of the others and notifies
// customers.
//
//	notifyd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	notifyd healthcheck    check whether the running notifyd is ready
//	notifyd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(notify.Program(programs.Keys()...)) }
