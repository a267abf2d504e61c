package foreign_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// MakeThumbnail is a task of theirs. Celery says in the header "task" which one a message is.
var MakeThumbnail = leveret.NewCommand[Thumbnail]("media.thumbnail", leveret.At(leveret.Address{
	Exchange: "celery", RoutingKey: "celery", Queue: "celery", External: true, Type: leveret.NoType,
	Headers: map[string]string{"task": "media.thumbnail", "lang": "py"},
	Topology: topology.Topology{
		Exchanges: []topology.Exchange{{Name: "celery", Type: topology.Direct}},
		Queues:    []topology.Queue{{Name: "celery"}},
		Bindings:  []topology.Binding{{Exchange: "celery", RoutingKey: "celery", Queue: "celery"}},
	},
}))

var Media = leveret.NewService("media", leveret.Handles(MakeThumbnail), leveret.Sends(MakeThumbnail))

// Thumbnail is what the Python function takes: thumbnail(file, width).
type Thumbnail struct {
	File  string `json:"file"`
	Width int    `json:"width"`
}

// MarshalJSON makes the body of a task: arguments by position, arguments by name, and what follows the task.
func (t Thumbnail) MarshalJSON() ([]byte, error) {
	type named Thumbnail
	next := map[string]any{"callbacks": nil, "errbacks": nil, "chain": nil, "chord": nil}
	return json.Marshal([]any{[]any{}, named(t), next})
}

// UnmarshalJSON reads the arguments as Python does: first those by position, then those by name.
func (t *Thumbnail) UnmarshalJSON(body []byte) error {
	type named Thumbnail
	positional := []any{&t.File, &t.Width}
	return json.Unmarshal(body, &[]any{&positional, (*named)(t)})
}

func sendTask(ctx context.Context, client *leveret.Client, t Thumbnail) error {
	id := uuid.NewString()
	return MakeThumbnail.Send(ctx, client, t, leveret.MessageID(id), leveret.Header("id", id))
}

// TestCelery: a task of ours is done by Celery's worker, and a task of Celery's client by ours.
func TestCelery(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	folder := t.TempDir()
	text, err := os.ReadFile("python/media.py")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "media.py"), text, 0o600))
	celery := func(args ...string) *program {
		p := &program{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), interpreter(t, "celery"), args...)}
		p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = folder, p, p
		p.cmd.Env = append(os.Environ(), "AMQP_URL="+url)
		return p
	}
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	client, err := leveret.NewClient(conn, Media, leveret.ClientConfig{})
	require.NoError(t, err)

	require.NoError(t, sendTask(t.Context(), client, Thumbnail{File: "dog.png", Width: 32}), "before their worker ever ran")
	worker := celery("-m", "celery", "-A", "media", "worker", "--pool", "solo", "--without-gossip", "--without-mingle")
	require.NoError(t, worker.cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(worker.String(), "made dog.png 32") }, patience, 10*time.Millisecond, "%s", worker)
	require.NoError(t, worker.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, worker.cmd.Wait(), "%s", worker)

	handled := make(chan Thumbnail, 2)
	h := leveret.NewHandlers(Media, leveret.HandlersConfig{})
	MakeThumbnail.Handle(h, func(_ context.Context, task Thumbnail) error { handled <- task; return nil })
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	delay := celery("-c", "import media; media.thumbnail.delay('cat.png', width=64)")
	require.NoError(t, delay.cmd.Run(), "%s", delay)
	for next := (Thumbnail{}); next.File != "cat.png"; {
		select {
		case next = <-handled:
			// Celery sends the acknowledgement of a task that it has done in the next turn of its loop. The interrupt may come
			// before that, and then the task that it did comes once more.
			require.Contains(t, []Thumbnail{{File: "dog.png", Width: 32}, {File: "cat.png", Width: 64}}, next)
		case <-time.After(patience):
			require.FailNow(t, "the task did not come")
		}
	}
	stop()
	require.NoError(t, <-ended)
}
