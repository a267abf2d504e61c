package devbroker

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed guardian.sh
var guardianScript string

// guard configures the guardian. With the zero value there is one owner, and the node
// ends with it.
type guard struct {
	state   string        // the file by which other processes find a shared node
	lock    string        // the lock for that file
	linger  time.Duration // how long a shared node stays up without a user
	longest time.Duration // the same while the process run is alive
	run     int           // the process that may start more users, or 0
}

// guardian ends a node when its owners are gone.
type guardian struct {
	pid  int
	pipe *os.File // closing it ends the node; if we die, the kernel closes it
}

// held holds every open pipe to a guardian. Otherwise, if a program no longer referred
// to its Broker, the garbage collector would close the pipe and so end the node.
var held sync.Map // of *os.File

func hold(pipe *os.File) *os.File {
	held.Store(pipe, nil)
	return pipe
}

func letGo(pipe *os.File) error {
	held.Delete(pipe)
	return pipe.Close()
}

// startGuardian starts the guardian of the node in dir, which must contain the stop
// script. The pipe of a shared node is a FIFO in dir, so that others can open it too.
func startGuardian(dir string, g guard) (*guardian, error) {
	read, write, err := guardianPipe(dir, g.state != "")
	if err != nil {
		return nil, err
	}
	defer read.Close()
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	cmd := exec.Command("/bin/sh", "-c", guardianScript, "leveret-guardian", dir, seconds(g.linger), seconds(g.longest), strconv.Itoa(g.run), g.state, g.lock)
	cmd.Dir = "/"
	cmd.Stdin = read
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, markVariable) { // both marks, or the guardian would kill itself
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH")+":/usr/bin:/bin:/usr/sbin:/sbin")
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	guarded := &guardian{pid: cmd.Process.Pid, pipe: hold(write)}
	return guarded, cmd.Process.Release()
}

// order sends the guardian a command (end, keep or detach) and waits for it to exit.
func (g *guardian) order(ctx context.Context, word string) error {
	_, err := g.pipe.WriteString(word + "\n")
	_ = letGo(g.pipe)
	if err != nil {
		return fmt.Errorf("the guardian (pid %d) is gone: %w", g.pid, err)
	}
	if err := awaitEnd(ctx, g.pid); err != nil {
		return fmt.Errorf("the guardian (pid %d) is still ending the node: %w", g.pid, err)
	}
	return nil
}
