package service_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
)

type parcel struct {
	Street string `json:"street"`
	Note   string `json:"note"`
}

var (
	sent    = leveret.NewEvent[parcel]("parcel.sent", leveret.Key(func(p parcel) string { return p.Street }))
	parcels = leveret.NewService("parcel", leveret.Publishes(sent))
)

// parcelProgram returns a program that has an outbox and nothing else.
func parcelProgram(dir, broker string) service.Program {
	return service.Program{
		Service: parcels, Outbox: true,
		Overrides: map[string]string{"data.dir": dir, "broker.url": broker},
		Client:    leveret.ClientConfig{MaxBody: 1000},
		Setup: func(ctx context.Context, rt *service.Runtime) error {
			db, err := parcelDatabase(dir)
			if err != nil {
				return err
			}
			rt.Close("database", db.Close)
			o, err := outbox.New(ctx, outbox.Config{DB: db, Logger: rt.Logger, MeterProvider: rt.MeterProvider})
			if err == nil {
				rt.Relay(o)
			}
			return err
		},
	}
}

func parcelDatabase(dir string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "parcel.db")+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// A program sends what is in its outbox. It stays ready where a message cannot be sent, says so, and has commands for that.
func TestOutbox(t *testing.T) {
	t.Parallel()
	broker, dir, ctx := leverettest.Broker(t), t.TempDir(), t.Context()
	db, err := parcelDatabase(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	o, err := outbox.New(ctx, outbox.Config{DB: db})
	require.NoError(t, err)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		in := outbox.In(tx)
		return errors.Join(
			sent.Publish(ctx, in, parcel{"High Street", ""}, leveret.MessageID("high")),
			sent.Publish(ctx, in, parcel{"Low Road", strings.Repeat("x", 2000)}, leveret.MessageID("long")),
			sent.Publish(ctx, in, parcel{"Low Road", ""}, leveret.MessageID("behind")),
			sent.Publish(ctx, in, parcel{"Mill Lane", ""}, leveret.MessageID("tomorrow"), leveret.After(24*time.Hour)),
		)
	}))

	program := parcelProgram(dir, broker)
	r := start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	listed := func(state string) (ids []string) {
		code, out, errs := command(t, program, "outbox", "ls", "--state", state, "-o", "json")
		require.Equal(t, 0, code, errs)
		var all []struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(out), &all))
		for _, e := range all {
			ids = append(ids, e.ID)
		}
		return ids
	}
	require.Eventually(t, func() bool {
		aside, err := o.List(ctx, outbox.Aside, 10)
		blocked, err2 := o.List(ctx, outbox.Blocked, 10)
		ready, err3 := o.List(ctx, outbox.Ready, 10)
		return errors.Join(err, err2, err3) == nil && len(aside) == 1 && len(blocked) == 1 && len(ready) == 0
	}, patience, 10*time.Millisecond)
	require.Equal(t, []string{"long"}, listed("aside"))
	require.Equal(t, []string{"behind"}, listed("blocked"))
	require.Equal(t, []string{"tomorrow"}, listed("later"))
	require.Empty(t, listed("ready"))

	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz")
		return status == 200 && strings.Contains(body, "outbox: set aside: 1; keys that wait for one of them: 1")
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		_, metrics := r.get(t, "/metrics")
		return strings.Contains(metrics, `leveret_outbox_messages{leveret_state="set aside"} 1`) && strings.Contains(metrics, "leveret_outbox_blocked_keys 1")
	}, patience, 10*time.Millisecond)

	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	asker := operator.NewAsker(conn)
	require.Eventually(t, func() bool { // though it consumes nothing
		asking, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		reports, err := asker.Ask(asking, "parcel", 1)
		if err != nil || len(reports) != 1 || reports[0].Outbox == nil {
			return false
		}
		o := reports[0].Outbox
		return o.Program == "parceld" && o.Aside == 1 && o.BlockedKeys == 1 && o.Later == 1 && o.Ready == 0
	}, patience, 10*time.Millisecond)
	require.NoError(t, asker.Close(ctx))
	require.NoError(t, conn.Close(ctx))

	code, out, errs := command(t, program, "outbox", "ls")
	require.Equal(t, 0, code, errs)
	require.Regexp(t, `(?m)\AID +CONTRACT +KEY +STATE +SINCE +TROUBLE\nlong +parcel\.sent +Low Road +set aside +20\S+ +.*too large.*\nbehind .*\ntomorrow `, out)
	code, out, errs = command(t, program, "outbox", "show", "behind")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, `"street": "Low Road"`)

	code, _, errs = command(t, program, "outbox", "skip", "long")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "add --yes")
	code, _, errs = command(t, program, "outbox", "skip", "behind", "--yes")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the message behind was not set aside")
	code, out, errs = command(t, program, "outbox", "retry", "long")
	require.Equal(t, 0, code, errs)
	require.Equal(t, "long: sent as soon as it can be\n", out)
	require.Eventually(t, func() bool {
		e, err := o.Get(ctx, "long")
		return err == nil && e.Tries == 2 && e.State == outbox.Aside
	}, patience, 10*time.Millisecond)
	code, out, errs = command(t, program, "outbox", "skip", "long", "--yes")
	require.Equal(t, 0, code, errs)
	require.Equal(t, "long: removed\n", out)
	code, _, errs = command(t, program, "outbox", "cancel", "tomorrow", "--yes")
	require.Equal(t, 0, code, errs)
	var left int
	require.Eventually(t, func() bool {
		return db.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox").Scan(&left) == nil && left == 0
	}, patience, 10*time.Millisecond)

	code, _, errs = command(t, program, "outbox", "show", "long")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the outbox has no message long")
	for args, want := range map[string]string{
		"outbox": "say what to do", "outbox ls --state no": "it must be aside, blocked, ready or later", "outbox retry": "give the id",
		"outbox ls -o xml": "it must be text or json", "outbox ls --limit 0": "it must be 1 or more", "outbox show": "give the id of one message",
	} {
		code, _, errs = command(t, program, strings.Fields(args)...)
		require.Equal(t, 2, code, args)
		require.Contains(t, errs, want)
	}
}
