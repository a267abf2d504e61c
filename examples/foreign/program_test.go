package foreign_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// python returns an interpreter that has pika.
func python(t *testing.T) string { return interpreter(t, "pika") }

// interpreter returns a Python interpreter that has a module.
func interpreter(t *testing.T, module string) string {
	t.Helper()
	var last []byte
	for _, candidate := range []string{"python3", "/usr/bin/python3"} {
		var err error
		if last, err = exec.CommandContext(t.Context(), candidate, "-c", "import "+module).CombinedOutput(); err == nil {
			return candidate
		}
	}
	require.FailNow(t, "no python3 has "+module+": apt-get install python3-"+module+", or pip install "+module, "%s", last)
	return ""
}

// examples writes the Python programs of docs/wire.md to a folder, verbatim. The first line of each names its file.
func examples(t *testing.T) (folder string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/wire.md")
	require.NoError(t, err)
	folder = t.TempDir()
	var names []string
	for _, block := range regexp.MustCompile("(?ms)^```python\n(# (\\w+\\.py): .*?)^```$").FindAllStringSubmatch(string(page), -1) {
		names = append(names, block[2])
		require.NoError(t, os.WriteFile(filepath.Join(folder, block[2]), []byte(block[1]), 0o600))
	}
	require.ElementsMatch(t, []string{"send.py", "call.py", "worker.py", "listen.py", "read.py", "work.py"}, names)
	require.Len(t, regexp.MustCompile("(?m)^```python").FindAll(page, -1), len(names), "every block is a program")
	judged, err := os.ReadFile("python/worker.py")
	require.NoError(t, err)
	written, err := os.ReadFile(filepath.Join(folder, "worker.py"))
	require.NoError(t, err)
	require.Equal(t, string(written), string(judged), "python/worker.py, which the conformance kit judges, is that of the page")
	return folder
}

// A program is a process in Python. Its output can be read while it runs.
type program struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(text)
}

func (p *program) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func newProgram(t *testing.T, d *dev, folder, file string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), python(t), "-u", file)}
	p.cmd.Dir = folder
	p.cmd.Env = append(os.Environ(), "AMQP_URL="+d.url)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	return p
}

// run runs a program to its end, and returns what it prints.
func run(t *testing.T, d *dev, folder, file string) string {
	t.Helper()
	p := newProgram(t, d, folder, file)
	require.NoError(t, p.cmd.Run(), "%s", p)
	return p.String()
}

// start runs a program until the test ends. It must not end by itself.
func start(t *testing.T, d *dev, folder, file string) *program {
	t.Helper()
	p := newProgram(t, d, folder, file)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, p.cmd.Process.Kill(), "it has ended by itself: %s", p)
		_ = p.cmd.Wait() // it was killed
	})
	return p
}
