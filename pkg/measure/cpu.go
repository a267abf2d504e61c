package measure

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// clockTick is the unit of /proc/PID/stat: Linux shows 100 a second to programs, whatever its own clock.
const clockTick = 10 * time.Millisecond

// CPUOf returns the CPU time that a process has used, user and system, in steps of 10 ms. ok is false where the process
// does not exist, and on systems that have no /proc.
func CPUOf(pid int) (used time.Duration, ok bool) {
	s, ok := readStat(pid)
	return s.own, ok
}

// CPUOfTree returns the CPU time that a process and all its descendants have used, those that have ended and were
// waited for too. ok is as for [CPUOf].
func CPUOfTree(pid int) (used time.Duration, ok bool) {
	root, ok := readStat(pid)
	if !ok {
		return 0, false
	}
	children := make(map[int][]int)
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range all {
		if child, err := strconv.Atoi(filepath.Base(path)); err == nil {
			if s, ok := readStat(child); ok {
				children[s.parent] = append(children[s.parent], child)
			}
		}
	}
	used = root.own + root.waitedFor
	for left := slices.Clone(children[pid]); len(left) > 0; left = left[1:] {
		if s, ok := readStat(left[0]); ok {
			used += s.own + s.waitedFor
		}
		left = append(left, children[left[0]]...)
	}
	return used, true
}

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent         int
	own, waitedFor time.Duration
}

func readStat(pid int) (s stat, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, false
	}
	// The second field is the program's name in parentheses, which may contain any character.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return s, false
	}
	number := func(field int) int64 { // numbered as in proc(5)
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	return stat{
		parent:    int(number(4)),
		own:       time.Duration(number(14)+number(15)) * clockTick,
		waitedFor: time.Duration(number(16)+number(17)) * clockTick,
	}, true
}
