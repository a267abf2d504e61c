//go:build !race

package testmain

// Race reports whether the race detector is on, under which some tests take ten times as long.
const Race = false
