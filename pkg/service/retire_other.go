//go:build !linux

package service

import "net"

// refuse does nothing here: a client that connects while the listener is closed may be reset.
func refuse(net.Listener) {}

// queued returns nothing here.
func queued(net.Listener) net.Conn { return nil }
