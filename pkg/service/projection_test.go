package service_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/pkg/stream"
)

var (
	kept    = leveret.NewEvent[unit]("unit.kept", leveret.Kept(time.Hour, 1_000_000))
	keepers = leveret.NewService("unit", leveret.Publishes(kept))
	desk    = leveret.NewService("desk", leveret.Reads(kept))
)

const deskTables = "-- +goose Up\nCREATE TABLE units (n INTEGER NOT NULL);\n"

// deskProgram returns a program that has a projection and nothing else. It fails at 3 while fail says so.
func deskProgram(dir, broker string, fail *atomic.Bool) service.Program {
	return service.Program{
		Service:   desk,
		Overrides: map[string]string{"data.dir": dir, "broker.url": broker},
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			files := fstest.MapFS{"migrations/sqlite/00001_units.sql": {Data: []byte(deskTables)}}
			s, err := store.Open(ctx, filepath.Join(dir, "desk.db"), files)
			if err != nil {
				return err
			}
			rt.Close("store", s.Close)
			p := stream.NewProjection(rt.Conn, desk, stream.ProjectionConfig{
				Name: "units", From: stream.First(), InTx: s.InTx, Logger: rt.Logger, MeterProvider: rt.MeterProvider,
				Empty: func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, "DELETE FROM units")
					return err
				},
			})
			stream.On(p, kept, func(ctx context.Context, tx *sql.Tx, e stream.EventOf[unit]) error {
				if e.Payload.N == 3 && fail.Load() {
					return errors.New("planted")
				}
				_, err := tx.ExecContext(ctx, "INSERT INTO units (n) VALUES ($1)", e.Payload.N)
				return err
			})
			rt.Project(p)
			return nil
		},
	}
}

// patience is for what takes milliseconds on an idle machine.
const (
	patience = 2 * time.Minute
	tick     = 10 * time.Millisecond
)

// command runs a command of the program, and returns what it says.
func command(t *testing.T, p service.Program, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = p.Run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// A program that only has projections runs. One that stands still leaves it ready, says so, and can be built again.
func TestProjections(t *testing.T) {
	t.Parallel()
	broker, dir := leverettest.Broker(t), t.TempDir()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	client, err := leveret.NewClient(conn, keepers, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	for n := range 5 {
		require.NoError(t, kept.Publish(t.Context(), client, unit{n}))
	}

	var fail atomic.Bool
	fail.Store(true)
	program := deskProgram(dir, broker, &fail)
	r := start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	saying := func(pattern string) {
		t.Helper()
		says := regexp.MustCompile(`(?m)\APROJECTION(?s:.*)` + pattern)
		require.Eventually(t, func() bool {
			code, out, _ := command(t, program, "projection", "ls")
			return code == 0 && says.MatchString(out)
		}, patience, 10*time.Millisecond, pattern)
	}
	saying(`^units +unit\.kept\.kept +2 +2 +20[-0-9TZ:]+ +stands still since 20[-0-9TZ:]+: the event \S+ at offset 3: planted$`)
	status, body := r.get(t, "/readyz")
	require.Equal(t, 200, status, body)
	require.Contains(t, body, "projection units: unit.kept.kept: stands still at offset 2 since ")
	_, metrics := r.get(t, "/metrics")
	require.Contains(t, metrics, `leveret_projection_stopped{leveret_projection="units",leveret_stream="unit.kept.kept"} 1`)
	code, out, errs := command(t, program, "projection", "ls", "-o", "json")
	require.Equal(t, 0, code, errs)
	var listed []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &listed))
	require.Len(t, listed, 1)
	require.Contains(t, listed[0]["trouble"], "at offset 3: planted")
	for _, field := range []string{"last_event_at", "stopped_at"} {
		require.NotNil(t, listed[0][field], field)
		delete(listed[0], field)
	}
	delete(listed[0], "trouble")
	require.Equal(t, map[string]any{"projection": "units", "stream": "unit.kept.kept", "position": 2.0, "lag": 2.0, "state": "stopped"}, listed[0])
	code, out, _ = command(t, program, "projection", "accept", "units")
	require.Equal(t, 0, code)
	require.Equal(t, "nothing is missing\n", out)

	fail.Store(false)
	saying("caught up")
	code, _, errs = command(t, program, "projection", "rebuild", "units")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--yes is needed where nobody can be asked")
	fail.Store(true) // so that what is built again is seen
	code, out, errs = command(t, program, "projection", "rebuild", "units", "--yes")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "units is empty")
	saying("planted")
	fail.Store(false)
	saying("caught up")
	require.Eventually(t, func() bool {
		_, body := r.get(t, "/readyz")
		return strings.Contains(body, "projection units: ready")
	}, patience, 10*time.Millisecond)
	require.Equal(t, 0, r.end(t))
	saying("caught up") // while it does not run
}

func TestWrongProjectionCommands(t *testing.T) {
	t.Parallel()
	program := deskProgram(t.TempDir(), nowhere, &atomic.Bool{})
	for args, says := range map[string]string{
		"projection":                    "say what to do: ls, rebuild or accept",
		"projection lst":                `unknown argument "lst"`,
		"projection rebuild":            "the name of one projection",
		"projection rebuild orders":     `there is no projection "orders"; there are: units`,
		"projection accept orders":      `there is no projection "orders"; there are: units`,
		"projection ls --broker-nobody": "unknown flag: --broker-nobody",
		"projection ls -o yaml":         `--output is "yaml"; it must be text or json`,
	} {
		code, _, errs := command(t, program, strings.Fields(args)...)
		require.Equal(t, 2, code, args)
		require.Contains(t, errs, says, args)
	}
	code, out, errs := command(t, program, "--help")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "deskd projection")
	code, out, _ = command(t, program, "projection", "--help")
	require.Equal(t, 0, code)
	for _, name := range []string{"ls", "rebuild", "accept"} {
		require.Contains(t, out, "deskd projection "+name)
	}
	_, out, _ = command(t, service.Program{Service: units, Setup: program.Setup}, "--help")
	require.NotContains(t, out, "projection")
}

// An event that the service reads, and no projection does, is no silence.
func TestNoProjection(t *testing.T) {
	t.Parallel()
	program := deskProgram(t.TempDir(), leverettest.Broker(t), &atomic.Bool{})
	program.Setup = func(context.Context, *service.Runtime) error { return nil }
	program.Overrides["health.address"] = "off"
	code, _, errs := command(t, program)
	require.Equal(t, 1, code)
	require.Contains(t, errs, `reads unit.kept, but Setup registers no projection that does`)
}

// Two projections of one name would have one position.
func TestProjectionTwice(t *testing.T) {
	t.Parallel()
	program := deskProgram(t.TempDir(), leverettest.Broker(t), &atomic.Bool{})
	setup := program.Setup
	program.Setup = func(ctx context.Context, rt *service.Runtime) error {
		if err := setup(ctx, rt); err != nil {
			return err
		}
		p := stream.NewProjection(rt.Conn, desk, stream.ProjectionConfig{Name: "units"})
		rt.Project(p)
		return nil
	}
	program.Overrides["health.address"] = "off"
	code, _, errs := command(t, program)
	require.Equal(t, 1, code)
	for _, says := range []string{`two projections named \"units\"`, "From is the zero value", "call On"} {
		require.Contains(t, errs, says, fmt.Sprint(errs))
	}
}
