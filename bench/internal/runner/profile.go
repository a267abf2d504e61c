package runner

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/devbroker"
)

// Hot is where a process spent its time.
type Hot struct {
	Scenario, Peer string
	// Places are the functions in which most time was spent, by themselves, hottest first.
	Places []Place
	// Ours are the functions of Leveret in which, with all that they call, most time was spent.
	Ours []Place
}

// A Place is a function and its share of the CPU time.
type Place struct {
	Function string
	Percent  string
}

// Profiled are the scenarios of which profiles are taken.
func Profiled() []string { return []string{"publish", "waiters-50", "consume", "call-64"} }

// Profile measures each scenario once more, with Leveret and with a profile, which stays in dir.
func Profile(ctx context.Context, node *devbroker.Broker, scenarios []Scenario, dir string, length time.Duration, progress io.Writer) ([]Hot, error) {
	p, _ := peers.Find(peers.Leveret)
	r := &rounds{node: node, rates: make(map[key]float64), failed: make(map[key]int), serial: 1 << 20}
	var all []Hot
	for _, s := range scenarios {
		path := filepath.Join(dir, s.Name+".pprof")
		if _, err := r.measure(ctx, s, p, length, path); err != nil {
			return all, fmt.Errorf("profile %s: %w", s.Name, err)
		}
		hot := Hot{Scenario: s.Name, Peer: p.Name}
		var err error
		if hot.Places, err = top(ctx, path, false, 3); err != nil {
			return all, err
		}
		if hot.Ours, err = top(ctx, path, true, 3); err != nil {
			return all, err
		}
		for _, place := range hot.Places {
			fmt.Fprintf(progress, "  %-12s %6s %s\n", s.Name, place.Percent, place.Function)
		}
		all = append(all, hot)
	}
	return all, nil
}

// ours matches Leveret's own functions, and not those of this program.
var ours = regexp.MustCompile(`leveretmq/leveret/pkg/`)

// typeArguments are left out of names: they may be whole structs.
var typeArguments = regexp.MustCompile(`\[go\.shape\..*\]`)

// top asks pprof for the hottest functions: by their own time, or of ours by all that they call.
func top(ctx context.Context, path string, cumulative bool, n int) ([]Place, error) {
	args := []string{"tool", "pprof", "-top", "-nodecount=300"}
	if cumulative {
		args = append(args, "-cum")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", append(args, self, path)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return placesIn(out, cumulative, n), nil
}

// placesIn reads lines like "0.15s 12.50% 12.50% 0.40s 33.33%  runtime.mallocgc".
func placesIn(out []byte, cumulative bool, n int) []Place {
	var places []Place
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() && len(places) < n {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || !strings.HasSuffix(f[1], "%") || !strings.HasSuffix(f[4], "%") {
			continue
		}
		name := typeArguments.ReplaceAllString(strings.Join(f[5:], " "), "")
		place := Place{Function: strings.TrimSuffix(name, " (inline)"), Percent: f[1]}
		if cumulative {
			if !ours.MatchString(place.Function) {
				continue
			}
			place.Percent = f[4]
		}
		places = append(places, place)
	}
	return places
}
