// Package flock locks files between processes.
package flock
