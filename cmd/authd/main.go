// Command authd is the auth service of the reference system: it keeps passwords and sessions, and signs access tokens.
//
//	authd                run until SIGTERM or SIGINT, then finish running handlers and exit
//	authd healthcheck    check whether the running authd is ready
//	authd --help         list all settings
//
// For its exit codes, see package service.
package main

import (
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

func main() { service.Main(programs.Auth()) }
