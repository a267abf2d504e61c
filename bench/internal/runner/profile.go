package runner

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	// Packages are the same by package.
	Packages []Place
}

// A Place is a function or a package and its share of the CPU time.
type Place struct {
	Name    string
	Percent float64
}

// Profiled are the scenarios of which profiles are taken.
func Profiled() []string { return []string{"publish", "waiters-50", "consume", "call-64"} }

// Profile measures each scenario once more with Leveret, and writes CPU profiles to dir.
func Profile(ctx context.Context, node *devbroker.Broker, scenarios []Scenario, dir string, length time.Duration, progress io.Writer) ([]Hot, error) {
	p, _ := peers.Find(peers.Leveret)
	r := &rounds{node: node, rates: make(map[key]float64), failed: make(map[key]int), serial: 1 << 20}
	var all []Hot
	for _, s := range scenarios {
		path := filepath.Join(dir, s.Name+".pprof")
		if _, err := r.measure(ctx, s, p, length, path); err != nil {
			return all, fmt.Errorf("profile %s: %w", s.Name, err)
		}
		all = append(all, Hot{Scenario: s.Name, Peer: p.Name})
		hot := &all[len(all)-1]
		var err error
		if hot.Places, hot.Packages, err = top(ctx, path, 3, 6); err != nil {
			return all, err
		}
		for _, place := range hot.Places {
			fmt.Fprintf(progress, "  %-12s %5.1f %% %s\n", s.Name, place.Percent, place.Name)
		}
	}
	return all, nil
}

// top asks pprof for the hottest functions and packages.
func top(ctx context.Context, path string, functions, packages int) (f, p []Place, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=5000", "-nodefraction=0", self, path).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go tool pprof: %w", err)
	}
	all := placesIn(out)
	return first(all, functions), first(byPackage(all), packages), nil
}

func first(all []Place, n int) []Place { return all[:min(n, len(all))] }

// typeArguments are removed from names, because they may be whole structs.
var typeArguments = regexp.MustCompile(`\[go\.shape\..*\]`)

// placesIn reads lines like "0.15s 12.50% 12.50% 0.40s 33.33%  runtime.mallocgc".
func placesIn(out []byte) []Place {
	var places []Place
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || !strings.HasSuffix(f[4], "%") {
			continue
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(f[1], "%"), 64)
		if err != nil {
			continue
		}
		name := typeArguments.ReplaceAllString(strings.Join(f[5:], " "), "")
		places = append(places, Place{Name: strings.TrimSuffix(name, " (inline)"), Percent: percent})
	}
	return places
}

// byPackage sums the places of each package, the hottest first.
func byPackage(places []Place) []Place {
	sums := make(map[string]float64)
	for _, p := range places {
		sums[packageOf(p.Name)] += p.Percent
	}
	var all []Place
	for name, percent := range sums {
		all = append(all, Place{name, percent})
	}
	slices.SortFunc(all, func(a, b Place) int { return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Name, b.Name)) })
	return all
}

// packageOf returns the part before the first dot after the last slash.
func packageOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[slash:], ".")
	return function[:slash] + name
}
