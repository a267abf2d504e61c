package devbroker

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a node whose Erlang VM is a process on this machine.
type process struct {
	*node
	child int // the last VM that we started, or 0
}

//go:embed stop.sh
var stopProcess string

func (p *process) stopScript() string {
	remove := "yes"
	if p.folder.keep {
		remove = "no"
	}
	return strings.NewReplacer("@dir@", quote(p.folder.path), "@mark@", quote(p.folder.mark()),
		"@cluster@", quote(p.folder.clusterMark()), "@remove@", remove).Replace(stopProcess)
}

func (p *process) configure(context.Context) error {
	var discovery []string
	if p.cfg.Join != nil { // at its first start, the node asks these for the cluster
		discovery = []string{
			"cluster_formation.peer_discovery_backend = classic_config",
			"cluster_formation.classic_config.nodes.1 = " + p.cfg.Join.node.folder.node(),
			"cluster_formation.classic_config.nodes.2 = " + p.folder.node(),
			// Beyond it the node would start alone. The start has a limit of its own.
			"cluster_formation.discovery_retry_limit = 100000",
		}
	}
	return p.folder.configure(p.cfg, append(discovery, "default_user = "+username, "default_pass = "+p.folder.password,
		"management.tcp.ip = 127.0.0.1", fmt.Sprintf("management.tcp.port = %d", p.ports.Management))...)
}

func (p *process) start(ctx context.Context) error {
	ctx, cancel := p.limited(ctx)
	defer cancel()
	for tries := 1; ; tries++ {
		err := p.startOnce(ctx)
		if !errors.Is(err, errEpmdLate) || tries == 3 {
			return err
		}
		p.cfg.say("epmd, with which RabbitMQ registers, was not up in time; starting RabbitMQ again")
	}
}

func (p *process) startOnce(ctx context.Context) error {
	if p.vm() != 0 { // running already, unless it is shutting down
		if err := p.awaitReady(ctx, p.running); err == nil || ctx.Err() != nil {
			return err
		}
	}
	os.Remove(p.folder.pidFile()) // left by a killed node
	os.Remove(p.folder.log())     // so that a failure is explained by the log of this start
	console, err := os.OpenFile(p.folder.console(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	cmd := exec.Command(filepath.Join(p.source.Path, "rabbitmq-server"))
	cmd.Dir = p.folder.path
	cmd.Env = p.env()
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.child = cmd.Process.Pid
	if err := cmd.Process.Release(); err != nil { // we track it by its id: see alive
		return err
	}
	if err := p.awaitReady(ctx, p.running); err != nil {
		p.discard(context.WithoutCancel(ctx))
		return p.folder.explain(err)
	}
	return nil
}

func (p *process) running() error {
	if p.vm() == 0 {
		return errors.New("its Erlang VM has exited")
	}
	return nil
}

// env returns the environment of the node's processes: our own, without the variables
// that affect RabbitMQ or Erlang, plus the node's settings.
func (p *process) env() []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case strings.HasPrefix(name, "RABBITMQ_"), strings.HasPrefix(name, "ERL_"), strings.HasPrefix(name, "LC_"),
			name == "HOME", name == "LANG", name == "NOTIFY_SOCKET", name == markVariable, name == clusterVariable, name == "ESCRIPT_EMULATOR":
		default:
			env = append(env, entry)
		}
	}
	f := p.folder
	env = append(env,
		f.mark(), f.clusterMark(),
		"HOME="+f.sub("home"), // the Erlang cookie lives there
		"LANG=C.UTF-8", "LC_ALL=C.UTF-8",
		"RUNNING_UNDER_SYSTEMD=true", // makes the script exec the VM instead of supervising it
		"RABBITMQ_NODENAME="+f.node(),
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(p.ports.AMQP),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(p.ports.Dist),
		"ERL_EPMD_PORT="+strconv.Itoa(p.ports.Epmd),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_CRASH_DUMP_SECONDS=0", // none: it holds the node's password and cookie
		"RABBITMQ_MNESIA_BASE="+f.sub("data"),
		"RABBITMQ_LOG_BASE="+f.sub("log"),
		"RABBITMQ_LOGS="+f.log(),
		"RABBITMQ_PID_FILE="+f.pidFile(),
		// Ignore the configuration of an installed node.
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE="+f.sub("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES="+f.sub("conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+f.sub("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+f.sub("enabled_plugins"),
		"RABBITMQ_SCHEDULER_BIND_TYPE=u", // several nodes must not be bound to the same cores
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+p.cfg.erlangArgs(),
		"RABBITMQ_CTL_ERL_ARGS="+loopbackOnly,
		"RABBITMQ_CTL_DIST_PORT_MIN=0", "RABBITMQ_CTL_DIST_PORT_MAX=0", // any
	)
	env = append(env, "PATH="+os.Getenv("PATH")+":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin")
	return append(env, p.source.env...)
}

// vm returns the process id of the running Erlang VM: the one in its pid file, or else
// the child's. It returns 0 if the node is down.
func (p *process) vm() int {
	if p.child != 0 && !alive(p.child) {
		p.child = 0 // reaped, so the id may be reused from now on
	}
	if pid := p.folder.pid(); pid != 0 {
		return pid
	}
	return p.child
}

func (p *process) kill(ctx context.Context) error {
	for pid := p.vm(); pid != 0; pid = p.vm() { // the VM, and then a child that is not the VM
		if err := signalProcess(pid, sigKill); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end the Erlang VM (pid %d): %w", pid, err)
		}
		if err := awaitEnd(ctx, pid); err != nil {
			return fmt.Errorf("the Erlang VM (pid %d) does not end: %w", pid, err)
		}
		if pid == p.child {
			p.child = 0
		}
	}
	return nil
}

func (p *process) discard(ctx context.Context) { _ = p.kill(ctx) } // the guardian does it again

// stop sends SIGTERM, on which RabbitMQ shuts down gracefully. That takes 0.1 s on 4.3,
// and five seconds longer on 3.10, whose event manager waits for itself.
func (p *process) stop(ctx context.Context) error {
	pid := p.vm()
	if pid == 0 {
		return nil
	}
	for _, sig := range []signal{sigCont, sigTerm} {
		if err := signalProcess(pid, sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if err := awaitEnd(ctx, pid); err != nil {
		return fmt.Errorf("the Erlang VM (pid %d) does not stop (Kill would end it): %w", pid, err)
	}
	if pid == p.child {
		p.child = 0
	}
	return nil
}

func (p *process) down(context.Context) bool { return p.vm() == 0 }

func (p *process) pause() error  { return p.signal(sigStop) }
func (p *process) resume() error { return p.signal(sigCont) }

func (p *process) signal(sig signal) error {
	pid := p.vm()
	if pid == 0 {
		return errors.New("the node is down; Start brings it back")
	}
	return signalProcess(pid, sig)
}

func (p *process) ctl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.source.Path, "rabbitmqctl"), args...)
	cmd.Dir = p.folder.path
	cmd.Env = p.env()
	return output(cmd)
}

// output runs a command and returns its standard output. Its error includes the last
// lines of all output.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()+said.String()), "\n")
		return out.Bytes(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.Join(lines[max(0, len(lines)-4):], "; "))
	}
	return out.Bytes(), nil
}

// close ends the VM itself, since this process may be the VM's parent, and leaves the
// rest to the guardian.
func (p *process) close(ctx context.Context) error {
	return errors.Join(p.kill(ctx), p.node.close(ctx))
}

func (p *process) about() About {
	return About{Dir: p.folder.path, LogFile: p.folder.log(), Node: p.folder.node(), PID: p.vm()}
}
