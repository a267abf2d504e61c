// Package results stores the results of a run of the benchmarks in a file.
package results

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/faults"
	"github.com/leveretmq/leveret/bench/internal/growth"
	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/bench/internal/runner"
)

// A Run holds all results of a run.
type Run struct {
	Began   time.Time
	Took    time.Duration
	Command string
	Machine Machine
	// Commit is Leveret's, "-dirty" where files differ from it.
	Commit string
	// Broker is RabbitMQ's version, and where it comes from.
	Broker string
	// Driver is the version of the driver below all peers.
	Driver string
	// Window is how many publishes could wait for their confirm, Prefetch how many deliveries a receiver got ahead, at
	// least.
	Window, Prefetch int
	Peers            []Peer
	// Scenarios are the names of those that were measured.
	Scenarios []string
	Rounds    int
	Samples   []runner.Sample
	Faults    []faults.Finding
	Growth    []growth.Series
	Hot       []runner.Hot
}

// A Machine is what the run ran on.
type Machine struct {
	CPU    string
	Cores  int
	Memory int64 // bytes
	System string
	Go     string
}

// A Peer describes a peer that took part.
type Peer struct{ Name, Modules, About, RetryAbout string }

// PeersOf describes the peers that take part.
func PeersOf(all []peers.Peer) []Peer {
	var found []Peer
	for _, p := range all {
		found = append(found, Peer{p.Name, p.Modules(), p.About, p.RetryAbout})
	}
	return found
}

// ThisMachine describes the machine. Unknown values are "unknown" or 0.
func ThisMachine(ctx context.Context) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown", System: runtime.GOOS + "/" + runtime.GOARCH}
	if release := output(ctx, "uname", "-sr"); release != "" {
		m.System = release + ", " + runtime.GOARCH
	}
	if runtime.GOOS == "darwin" {
		m.CPU = cmp.Or(output(ctx, "sysctl", "-n", "machdep.cpu.brand_string"), m.CPU)
		m.Memory, _ = strconv.ParseInt(output(ctx, "sysctl", "-n", "hw.memsize"), 10, 64)
		return m
	}
	m.CPU = cmp.Or(field("/proc/cpuinfo", "model name"), field("/proc/cpuinfo", "Model"), m.CPU)
	kb, _ := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.Memory = kb << 10
	return m
}

// Commit returns the commit of Leveret that is measured, or "unknown" outside its repository.
func Commit(ctx context.Context) string {
	return cmp.Or(output(ctx, "git", "describe", "--always", "--dirty"), "unknown")
}

func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// field returns the first "name: value" of a file.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Save writes the run to a file.
func (r *Run) Save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Load reads a run from a file.
func Load(path string) (*Run, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var r Run
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s is not a result of this version: %w", path, err)
	}
	if len(r.Samples)+len(r.Faults)+len(r.Growth)+len(r.Hot) == 0 {
		return nil, fmt.Errorf("%s contains no measurements", path)
	}
	return &r, nil
}

// Of returns the measurements of a scenario with a peer, by round; nil where there are none.
func (r *Run) Of(scenario, peer string) map[int]runner.Sample {
	found := make(map[int]runner.Sample)
	for _, s := range r.Samples {
		if s.Scenario == scenario && s.Peer == peer && s.Err == "" {
			found[s.Round] = s
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

// Failure returns an error of a scenario with a peer; "" where there is none.
func (r *Run) Failure(scenario, peer string) string {
	for _, s := range r.Samples {
		if s.Scenario == scenario && s.Peer == peer && s.Err != "" {
			return s.Err
		}
	}
	return ""
}

// Finding returns the outcome of an experiment with a peer.
func (r *Run) Finding(peer string, e faults.Experiment) (faults.Finding, bool) {
	i := slices.IndexFunc(r.Faults, func(f faults.Finding) bool { return f.Peer == peer && f.Experiment == e })
	if i < 0 {
		return faults.Finding{}, false
	}
	return r.Faults[i], true
}
