package devbroker

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/internal/trust"
)

const (
	// nodeName is the name of every node but those that join another one. It can be the same, because each cluster has its
	// own epmd; and it must be, because data belong to a node's name.
	nodeName = "leveret@localhost"
	// markVariable is set in the environment of every process of a node, so that all
	// of them can be found regardless of their parents.
	markVariable = "LEVERET_DEVBROKER"
	// clusterVariable is set there, too. By it a node that ends knows whether others of its cluster need their epmd.
	clusterVariable = "LEVERET_DEVBROKER_CLUSTER"
	// identityFile marks a folder as belonging to a node.
	identityFile = "node-id"
	// passwordFile remembers the password of the node's user.
	passwordFile = "password"
	// username is the node's user. RabbitMQ lets it in over the loopback interface only.
	username = "guest"
)

// folder is where a node keeps everything.
type folder struct {
	path string
	id   string // random, and constant for the life of the folder
	keep bool
	// joins is the id of the folder of the cluster's first node, and empty for that node.
	joins string
	// password is that of the node's user in its data, or the one that new data get.
	password string
}

// makeFolder creates or takes over the folder of a node.
func makeFolder(cfg Config) (folder, error) {
	f := folder{path: cfg.Dir, id: rand.Text(), keep: cfg.KeepData, password: rand.Text()}
	var err error
	if f.path == "" {
		if f.path, err = trust.Temporary("leveret-"); err != nil {
			return f, err
		}
	} else if err = f.takeOver(); err != nil {
		return f, err
	}
	if f.path, err = filepath.Abs(f.path); err != nil {
		return f, err
	}
	for _, sub := range []string{"home", "data", "log", "conf.d"} {
		if err := os.MkdirAll(f.sub(sub), 0o700); err != nil {
			return f, err
		}
	}
	// Erlang would make a cookie too, but from a random number that can be guessed.
	cookie := rand.Text()
	if cfg.Join != nil {
		first := cfg.Join.node.folder
		f.joins, f.password = first.cluster(), cfg.Password
		text, err := os.ReadFile(first.sub(cookieFile))
		if err != nil {
			return f, err
		}
		cookie = string(text)
	}
	return f, errors.Join(f.write(identityFile, f.id), f.write(passwordFile, f.password), f.write(cookieFile, cookie))
}

// cookieFile is where Erlang looks for the password with which nodes, and rabbitmqctl, connect to each other.
const cookieFile = "home/.erlang.cookie"

// write writes a file that only this user can read.
func (f folder) write(name, text string) error {
	path := f.sub(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// takeOver checks a folder chosen by the caller, and makes it this user's alone.
func (f *folder) takeOver() error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if !ownedByUs(info) {
		return fmt.Errorf("%s belongs to another user; a node's folder contains a program that ends the node", f.path)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(f.path, 0o700); err != nil {
			return err
		}
	}
	id, err := os.ReadFile(f.sub(identityFile))
	if err == nil {
		f.id = strings.TrimSpace(string(id))
		if f.password, err = f.remembered(); err != nil {
			return err
		}
		if pid := f.pid(); pid != 0 {
			return fmt.Errorf("a node is already running in %s (pid %d); to end it: sh %s", f.path, pid, f.sub("stop"))
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(f.path)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s contains other files (%s, …); a node's folder must be missing, empty, or left by an earlier node", f.path, entries[0].Name())
	}
	return err
}

// remembered returns the password of the data that an earlier node left.
func (f folder) remembered() (string, error) {
	password, err := os.ReadFile(f.sub(passwordFile))
	if errors.Is(err, fs.ErrNotExist) { // the node of an earlier Leveret
		return formerPassword, nil
	}
	return string(password), err
}

// formerPassword is the password that RabbitMQ gives its user guest. Start replaces it.
const formerPassword = "guest"

func (f folder) sub(name string) string { return filepath.Join(f.path, name) }
func (f folder) pidFile() string        { return f.sub("pid") }
func (f folder) log() string            { return f.sub("log/rabbitmq.log") }
func (f folder) console() string        { return f.sub("log/console.log") }
func (f folder) mark() string           { return markVariable + "=" + f.id }
func (f folder) clusterMark() string    { return clusterVariable + "=" + f.cluster() }
func (f folder) clusterName() string    { return "leveret-" + f.cluster() }

// cluster is the id of the folder of the cluster's first node.
func (f folder) cluster() string { return cmp.Or(f.joins, f.id) }

// node is the name of the node.
func (f folder) node() string {
	if f.joins == "" {
		return nodeName
	}
	return "leveret-" + strings.ToLower(f.id[:min(8, len(f.id))]) + "@localhost"
}

// pid returns the process id in the Erlang VM's pid file, or 0 if that VM is gone. A
// killed VM leaves the file behind, and its id may have been reused since.
func (f folder) pid() int {
	text, err := os.ReadFile(f.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !alive(pid) || !f.marked(pid) {
		return 0
	}
	return pid
}

// marked reports whether a process belongs to the node or, if the system does not show
// environments, whether it is an Erlang VM.
func (f folder) marked(pid int) bool {
	if env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil {
		return strings.Contains(string(env), f.mark())
	}
	command, err := exec.Command("ps", "-p", strconv.Itoa(pid), "-o", "command=").Output()
	return err == nil && strings.Contains(string(command), "beam")
}

// configure writes the node's configuration, including extra lines for its engine.
func (f folder) configure(cfg Config, extra ...string) error {
	plugins := strings.Join(append([]string{"rabbitmq_management"}, cfg.Plugins...), ",")
	if err := f.write("enabled_plugins", "["+plugins+"].\n"); err != nil {
		return err
	}
	lines := extra
	if f.joins == "" { // the others get it from the first, by which we see that they have joined it
		lines = append(lines, "cluster_name = "+f.clusterName())
	}
	conf := strings.Join(append(lines, standardConf, cfg.Conf), "\n") + "\n"
	return f.write("rabbitmq.conf", conf)
}

// standardConf lets the node run with little free disk space, and makes rates available
// within a second or two.
const standardConf = `disk_free_limit.absolute = 50MB
collect_statistics_interval = 1000
management.sample_retention_policies.global.minute = 1
management.sample_retention_policies.basic.minute = 1
management.sample_retention_policies.detailed.minute = 1`

// explain adds the relevant lines of the node's log to the error of a failed start.
func (f folder) explain(cause error) error {
	var text string
	for _, path := range []string{f.log(), f.console()} {
		part, _ := os.ReadFile(path)
		text += string(part) + "\n"
	}
	if portTaken(text) {
		cause = fmt.Errorf("%w: %w", errPortTaken, cause)
	}
	if strings.Contains(text, "register/listen error: econnrefused") {
		cause = fmt.Errorf("%w: %w", errEpmdLate, cause)
	}
	said := reasons(text)
	if said == "" {
		return fmt.Errorf("%w; its log: %s", cause, f.sub("log"))
	}
	return fmt.Errorf("%w; its log, %s, says:\n%s", cause, f.sub("log"), said)
}

// errEpmdLate means that epmd, Erlang's port mapper, did not listen yet when the node that had started it wanted to
// register. This happens on a busy machine.
var errEpmdLate = errors.New("epmd was not up in time")

// portTaken reports whether a log shows that a port was taken by another process. A duplicate node name means that
// another node's epmd got our epmd's port, since each of our epmds serves only one node.
func portTaken(log string) bool {
	for _, sign := range []string{"eaddrinuse", "already in use", "in use by another", "duplicate_name", "duplicate_node_name"} {
		if strings.Contains(log, sign) {
			return true
		}
	}
	return false
}

// reasons returns the lines of a log that explain why a start failed.
func reasons(log string) string {
	var telling, all []string
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if _, after, found := strings.Cut(line+" ", "> "); found && strings.Contains(line, "] <") {
			line = strings.TrimSpace(after) // without time, level and process
		}
		if line == "" || seen[line] {
			continue
		}
		seen[line] = true
		all = append(all, line)
		lower := strings.ToLower(line)
		for _, sign := range []string{"error", "fail", "tried to", "unknown", "eaddrinuse", "in use", "invalid", "not found", "denied", "cannot", "refused"} {
			if strings.Contains(lower, sign) {
				telling = append(telling, line)
				break
			}
		}
	}
	if len(telling) == 0 {
		telling = all[max(0, len(all)-5):]
	}
	var b strings.Builder
	for _, line := range telling[:min(8, len(telling))] {
		if len(line) > 300 {
			line = line[:300] + "…"
		}
		b.WriteString("  " + line + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func (f folder) remove() error {
	if f.keep {
		return nil
	}
	return os.RemoveAll(f.path)
}
