package devbroker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/internal/flock"
	"github.com/leveretmq/leveret/internal/trust"
)

const (
	// sharedLinger is how long a shared node stays up without a user.
	sharedLinger = 3 * time.Second
	// sharedLongest is the same while `go test` is still running and may start more test
	// binaries after compiling their packages.
	sharedLongest = 2 * time.Minute
)

// state describes a shared node. Its first user writes it to a file for the others.
type state struct {
	Kind    Kind
	Path    string
	Env     []string
	Dir     string
	ID      string
	Ports   ports
	Address address
}

// Shared returns the node that all test binaries of one `go test` share. The first
// caller starts it, which takes as long as Start; the others wait for that and join.
// If LEVERET_BROKER_URL is set, Shared returns that broker.
//
// Use separate virtual hosts with random names (Broker.VHost). Methods that start or
// stop the node return ErrShared. Do not change the node as a whole, by a memory alarm
// through Ctl for example, since that disturbs the others; start a private node for
// such tests.
//
// Call release when done; calling it again does nothing. It does not block: the node
// ends a few seconds after its last user has released it or died and `go test` has
// ended.
func Shared(ctx context.Context) (b *Broker, release func(), err error) {
	cfg, err := Config{}.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	if cfg.URL != "" || !nodesPossible {
		b, err = Start(ctx, cfg)
		return b, func() {}, err
	}
	run, path := sharedRun(cfg)
	if err := trust.Folder(filepath.Dir(path)); err != nil { // the file has the node's password, and names a program
		return nil, nil, fmt.Errorf("devbroker: the folder for shared nodes: %w", err)
	}
	unlock, err := flock.Lock(ctx, path+".lock")
	if err != nil {
		return nil, nil, fmt.Errorf("devbroker: wait for the shared node: %w", err)
	}
	defer unlock()
	b, user, err := join(ctx, path+".json")
	if err != nil {
		b, user, err = startShared(ctx, cfg, run, path)
	}
	if err != nil {
		return nil, nil, err
	}
	b.shared = true
	var once sync.Once
	return b, func() { once.Do(func() { _ = letGo(user) }) }, nil
}

// sharedRun returns the `go test` process that may start more users, or 0 if it is not
// known, and the path, without extension, of the files by which its test binaries find
// each other.
func sharedRun(cfg Config) (run int, path string) {
	parent := os.Getppid()
	comm, stat := procStat(parent)
	if comm == "go" {
		run = parent
	}
	// The start time distinguishes runs whose process ids happen to be equal.
	key := sha256.Sum256([]byte(strings.Join([]string{cfg.Bin, stat, os.Getenv("PATH")}, "\n")))
	folder := fmt.Sprintf("leveret-runs-%d", os.Geteuid())
	return run, filepath.Join(os.TempDir(), folder, fmt.Sprintf("%d-%s", parent, hex.EncodeToString(key[:4])))
}

// procStat returns a process's name and start time, if the system has /proc.
func procStat(pid int) (comm, start string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	_, rest, _ := strings.Cut(string(text), "(")
	at := strings.LastIndex(rest, ")")
	if at < 0 {
		return "", ""
	}
	if fields := strings.Fields(rest[at+1:]); len(fields) > 19 {
		start = fields[19]
	}
	return rest[:at], start
}

// join makes this process a user of the node described by the state file.
func join(ctx context.Context, path string) (*Broker, *os.File, error) {
	s, err := readState(path)
	if err != nil {
		return nil, nil, err
	}
	user, err := openFIFO(s.Dir)
	if err != nil { // its guardian is gone, so remove what is left of it
		_ = exec.CommandContext(ctx, "/bin/sh", filepath.Join(s.Dir, "stop")).Run()
		return nil, nil, err
	}
	if _, err := user.WriteString("join\n"); err != nil {
		return nil, nil, errors.Join(err, user.Close())
	}
	// The guardian may be about to end the node. In that case it has moved the state file
	// away, and moves it back once it has read our message.
	for deadline := time.Now().Add(3 * time.Second); ; {
		if _, err = os.Lstat(path); err == nil {
			break
		}
		if time.Now().After(deadline) || sleep(ctx, 5*time.Millisecond) != nil {
			return nil, nil, errors.Join(err, user.Close())
		}
	}
	b := &Broker{source: Source{Kind: s.Kind, Path: s.Path, env: s.Env}, address: s.Address}
	if _, err := s.Address.probe(ctx); err != nil {
		return nil, nil, errors.Join(err, user.Close())
	}
	b.node = &node{source: b.source, folder: folder{path: s.Dir, id: s.ID}, ports: s.Ports, address: &b.address}
	b.engine = b.node.engine()
	return b, hold(user), nil
}

func readState(path string) (s state, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() || !ownedByUs(info) {
		return s, fmt.Errorf("%s belongs to another user: %w", path, fs.ErrPermission)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// startShared starts the node and makes it known to the others. It writes the state
// file last; until then, the node ends with this process.
func startShared(ctx context.Context, cfg Config, run int, path string) (*Broker, *os.File, error) {
	g := guard{state: path + ".json", lock: path + ".lock", linger: sharedLinger, longest: sharedLongest, run: run}
	os.Remove(g.state) // left by a dead node
	b, err := start(ctx, cfg, g)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*Broker, *os.File, error) {
		return nil, nil, errors.Join(fmt.Errorf("devbroker: share the node: %w", err), b.Close(context.WithoutCancel(ctx)))
	}
	n := b.node
	text, err := json.Marshal(state{
		Kind: b.source.Kind, Path: b.source.Path, Env: b.source.env,
		Dir: n.folder.path, ID: n.folder.id, Ports: n.ports, Address: b.address,
	})
	if err != nil {
		return fail(err)
	}
	fresh := g.state + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return fail(err)
	}
	if err := os.Rename(fresh, g.state); err != nil {
		return fail(err)
	}
	return b, n.guardian.pipe, nil
}
