package devbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// container is a node run by Docker or Podman. Its data live in the container, which
// is therefore removed only when the node ends, not when it is killed.
type container struct {
	*node
}

// containerTool finds Docker or Podman with a daemon that answers.
func containerTool(ctx context.Context) (Source, error) {
	var problems []error
	for _, tool := range []string{"docker", "podman"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			problems = append(problems, fmt.Errorf("no %s on this machine", tool))
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err = output(exec.CommandContext(ctx, path, "ps", "--quiet", "--last", "1"))
		cancel()
		if err == nil {
			return Source{Kind: Container, Path: path}, nil
		}
		problems = append(problems, err)
	}
	return Source{}, errors.Join(problems...)
}

// fetchImage pulls the image if the machine does not have it.
func fetchImage(ctx context.Context, cfg Config, tool string) error {
	if _, err := output(exec.CommandContext(ctx, tool, "image", "inspect", cfg.Image)); err == nil {
		return nil
	}
	cfg.say("fetching the image %s with %s …", cfg.Image, tool)
	began := time.Now()
	if _, err := output(exec.CommandContext(ctx, tool, "pull", "--quiet", cfg.Image)); err != nil {
		return err
	}
	size, _ := output(exec.CommandContext(ctx, tool, "image", "inspect", "--format", "{{.Size}}", cfg.Image))
	cfg.say("fetched %s, %s bytes unpacked, in %.0f s, into %s's images", cfg.Image, strings.TrimSpace(string(size)), time.Since(began).Seconds(), tool)
	return nil
}

func (c *container) name() string { return "leveret-" + strings.ToLower(c.folder.id) }

func (c *container) tool(ctx context.Context, args ...string) ([]byte, error) {
	return c.toolWith(ctx, nil, args...)
}

// toolWith runs the tool with further environment variables, which other users cannot see, unlike arguments.
func (c *container) toolWith(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.source.Path, args...)
	if env != nil {
		cmd.Env = append(os.Environ(), env...)
	}
	cmd.SysProcAttr = ownSession() // a Ctrl-C must not interrupt a docker command
	return output(cmd)
}

func (c *container) stopScript() string {
	script := "#!/bin/sh\n# Ends the RabbitMQ node of this folder: its container, and the folder.\n" +
		"# \"sh stop keep\" leaves the folder.\ntrap '' HUP INT QUIT TERM\n{\n" +
		quote(c.source.Path) + " rm --force --volumes " + c.name() + " >/dev/null 2>&1\n" +
		"[ \"$1\" = keep ] || rm -rf -- " + quote(c.folder.path) + "\nexit 0\n}\n"
	return script
}

// configure creates the container. It mounts nothing from this machine, since the
// daemon may run elsewhere.
func (c *container) configure(ctx context.Context) error {
	if err := c.folder.configure(c.cfg, "loopback_users = none"); err != nil {
		return err
	}
	publish := func(here, there int) string { return fmt.Sprintf("--publish=127.0.0.1:%d:%d", here, there) }
	_, err := c.toolWith(ctx, []string{"RABBITMQ_DEFAULT_PASS=" + c.folder.password}, "create", "--name", c.name(), "--label", "leveret.devbroker=1",
		publish(c.ports.AMQP, 5672), publish(c.ports.Management, 15672),
		"--env=RABBITMQ_NODENAME="+nodeName,
		"--env=RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+c.cfg.erlangArgs(),
		"--env=RABBITMQ_CTL_ERL_ARGS="+loopbackOnly, "--env=ERL_EPMD_ADDRESS=127.0.0.1",
		"--env=RABBITMQ_DEFAULT_USER="+username, "--env=RABBITMQ_DEFAULT_PASS", // the value is in the tool's environment
		c.cfg.Image)
	if err != nil {
		return err
	}
	for from, to := range map[string]string{
		"rabbitmq.conf": "/etc/rabbitmq/conf.d/90-leveret.conf", "enabled_plugins": "/etc/rabbitmq/enabled_plugins",
		cookieFile: "/var/lib/rabbitmq/.erlang.cookie", // given to the user rabbitmq by the image
	} {
		if from != cookieFile { // root's in the container, and without secrets
			if err := os.Chmod(c.folder.sub(from), 0o644); err != nil { // the user rabbitmq reads them there
				return err
			}
		}
		if _, err := c.tool(ctx, "cp", c.folder.sub(from), c.name()+":"+to); err != nil {
			return err
		}
	}
	return nil
}

func (c *container) start(ctx context.Context) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	if _, err := c.tool(ctx, "start", c.name()); err != nil {
		for _, sign := range []string{"already allocated", "already in use"} { // the ports
			if strings.Contains(err.Error(), sign) {
				return fmt.Errorf("%w: %w", errPortTaken, err)
			}
		}
		return err
	}
	looked := time.Now()
	err := c.awaitReady(ctx, func() error {
		if time.Since(looked) < time.Second { // each check starts a program
			return nil
		}
		looked = time.Now()
		return c.running(ctx)
	})
	if err != nil {
		said, _ := exec.Command(c.source.Path, "logs", "--tail", "500", c.name()).CombinedOutput()
		_ = os.WriteFile(c.folder.console(), said, 0o600)
		return c.folder.explain(err)
	}
	return nil
}

// errContainerEnded is returned by running if the container exists but is down.
var errContainerEnded = errors.New("its container has exited")

func (c *container) running(ctx context.Context) error {
	out, err := c.tool(ctx, "inspect", "--format", "{{.State.Running}}", c.name())
	if err == nil && strings.TrimSpace(string(out)) != "true" {
		err = errContainerEnded
	}
	return err
}

func (c *container) down(ctx context.Context) bool {
	return errors.Is(c.running(ctx), errContainerEnded)
}

func (c *container) kill(ctx context.Context) error {
	if c.running(ctx) != nil {
		return nil //nolint:nilerr // it does not run, so there is nothing to kill
	}
	_, err := c.tool(ctx, "kill", "--signal", "KILL", c.name())
	return err
}

func (c *container) stop(ctx context.Context) error {
	_, err := c.tool(ctx, "stop", "--time", "60", c.name())
	return err
}

func (c *container) pause() error {
	_, err := c.tool(context.Background(), "pause", c.name())
	return err
}

func (c *container) resume() error {
	_, err := c.tool(context.Background(), "unpause", c.name())
	return err
}

func (c *container) ctl(ctx context.Context, args ...string) ([]byte, error) {
	return c.tool(ctx, append([]string{"exec", c.name(), "rabbitmqctl"}, args...)...)
}

func (c *container) discard(ctx context.Context) {
	_, _ = c.tool(ctx, "rm", "--force", "--volumes", c.name()) // the guardian does it again
}

func (c *container) about() About {
	return About{Dir: c.folder.path, Container: c.name(), Node: c.folder.node()}
}
