package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
)

const patience = 2 * time.Minute

func TestMain(m *testing.M) { testmain.Leaks(m) }

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// field returns a field of the record with a message; empty where there is none yet.
func (l *lines) field(message, name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			text, _ := record[name].(string)
			return text
		}
	}
	return ""
}

// An order that is placed has its reminder stored with it, its event sent, and is reminded of once the time has come.
func TestOrders(t *testing.T) {
	t.Parallel()
	file, log := filepath.Join(t.TempDir(), "orders.db"), &lines{}
	p := program
	p.Overrides = map[string]string{
		"broker.url": leverettest.Broker(t), "database.url": file, "http.address": "127.0.0.1:0", "health.address": "off", "log.format": "json",
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- p.Run(ctx, nil, log, log) }()
	require.Eventually(t, func() bool { return log.field("ready", "http") != "" }, patience, 10*time.Millisecond)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+log.field("ready", "http"), strings.NewReader(`{"id": "o-1", "cents": 500}`))
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)

	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	o, err := outbox.New(t.Context(), outbox.Config{DB: db})
	require.NoError(t, err)
	reminders, err := o.List(t.Context(), outbox.Later, 10)
	require.NoError(t, err)
	require.Len(t, reminders, 1)
	require.Equal(t, "orders.remind", reminders[0].Contract)
	require.NoError(t, o.InTx(t.Context(), func(tx *sql.Tx) error { return outbox.Move(t.Context(), tx, reminders[0].ID, time.Now()) }))
	require.Eventually(t, func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), "SELECT reminders FROM orders WHERE id = 'o-1'").Scan(&n)
		return err == nil && n == 1
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		all, err := o.List(t.Context(), "", 10)
		return err == nil && len(all) == 0
	}, patience, 10*time.Millisecond, "the event was sent as well")
	stop()
	require.Equal(t, 0, <-ended)
	require.ErrorIs(t, o.Cancel(t.Context(), reminders[0].ID), leveret.NotFound)
}
