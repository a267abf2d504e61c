package compare

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Format is the version of a [Result]'s JSON. It changes where a field changes its meaning or goes away.
const Format = 1

// A Result is everything that was found.
type Result struct {
	Format  int       `json:"format"`
	Began   time.Time `json:"began"`
	Machine Machine   `json:"machine"`
	// Versions are those of what was used: "go", "rabbitmq", "grpc".
	Versions map[string]string `json:"versions"`
	// Parts are the same comparison with different handlers.
	Parts []Part `json:"parts"`
}

// A Part is a comparison with one handler. A pass that was not made is left out.
type Part struct {
	// Handler is what the receivers do: "nothing", or "store".
	Handler string     `json:"handler"`
	Ways    []WayInfo  `json:"ways"`
	Speed   []Speed    `json:"speed,omitempty"`
	Ratios  []Ratio    `json:"ratios,omitempty"`
	Bytes   []Bytes    `json:"bytes,omitempty"`
	Faults  []FaultRow `json:"faults,omitempty"`
	// Stray is how many effects belong to no operation, or came after their pass was over.
	Stray int `json:"stray"`
}

// A WayInfo describes a way.
type WayInfo struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Async    bool   `json:"async"`
	Protocol string `json:"protocol,omitempty"`
	// Connections is how many the callers had open. It is left out where it is not known.
	Connections int `json:"connections,omitempty"`
}

// Ways describes all ways. Ask while they are open and warm.
func (c *Comparison) Ways() []WayInfo {
	var all []WayInfo
	for _, w := range c.config.Ways {
		info := WayInfo{Name: w.Name, Label: w.Label, Async: w.Async, Protocol: w.Protocol}
		if w.Connections != nil {
			info.Connections = w.Connections()
		}
		all = append(all, info)
	}
	return all
}

// A Machine is what figures were measured on.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	// Model is the kind of CPU; Load the average number of processes that ran or were ready to, over the last minute.
	// Both are left out where the system does not say.
	Model string  `json:"model,omitempty"`
	Load  float64 `json:"load,omitempty"`
}

// ThisMachine describes the machine that the program runs on. It says nothing that identifies it.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	info, _ := os.ReadFile("/proc/cpuinfo") // Linux
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Model = strings.TrimSpace(value)
			break
		}
	}
	averages, _ := os.ReadFile("/proc/loadavg")
	if first, _, ok := strings.Cut(string(averages), " "); ok {
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	return m
}
