package service_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
)

type parcel struct {
	Street string         `json:"street"`
	Note   string         `json:"note"`
	PIN    leveret.Secret `json:"pin,omitempty"`
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

// parcelOutbox returns the outbox of the program, as another process has it.
func parcelOutbox(t *testing.T, dir string) *outbox.Outbox {
	t.Helper()
	db, err := parcelDatabase(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	o, err := outbox.New(t.Context(), outbox.Config{DB: db})
	require.NoError(t, err)
	return o
}

// operate runs leveret's own command line as an operator.
func operate(t *testing.T, broker string, args ...string) (code cli.ExitCode, stdout, stderr string) {
	t.Helper()
	u, err := url.Parse(broker)
	require.NoError(t, err)
	password, _ := u.User.Password()
	u.User = nil
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password), 0o600))
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), cli.Config{
		Catalog: leveret.NewCatalog(parcels), Name: "leveret",
		Args:    append(args, "--broker-url", u.String(), "--broker-password-file", file, "--broker-connect-timeout", patience.String()),
		Streams: &term.Streams{Out: &out, Err: &errs, Env: func(string) string { return "" }},
	})
	return code, out.String(), errs.String()
}

// A program sends what is in its outbox. It stays ready where a message cannot be sent, says so, and has commands for that.
func TestOutbox(t *testing.T) {
	t.Parallel()
	broker, dir, ctx := leverettest.Broker(t), t.TempDir(), t.Context()
	o := parcelOutbox(t, dir)
	db, err := parcelDatabase(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		in := outbox.In(tx)
		return errors.Join(
			sent.Publish(ctx, in, parcel{Street: "High Street"}, leveret.MessageID("high")),
			sent.Publish(ctx, in, parcel{Street: "Low Road", Note: strings.Repeat("x", 2000)}, leveret.MessageID("long")),
			sent.Publish(ctx, in, parcel{Street: "Low Road", PIN: "1234"}, leveret.MessageID("behind")),
			sent.Publish(ctx, in, parcel{Street: "Mill Lane"}, leveret.MessageID("tomorrow"), leveret.After(24*time.Hour)),
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
		return strings.Contains(metrics, `leveret_outbox_messages{leveret_state="aside"} 1`) && strings.Contains(metrics, "leveret_outbox_blocked_keys 1")
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
	require.Regexp(t, `(?m)\AID +CONTRACT +KEY +STATE +AGE +DUE IN +TROUBLE\nlong +parcel\.sent +Low Road +aside +.*too large.*\nbehind .*\ntomorrow .* 23h`, out)
	code, out, errs = command(t, program, "outbox", "show", "behind")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, `"street": "Low Road"`)
	require.NotContains(t, out, "1234", "it is a secret")

	answered, out, errs := operate(t, broker, "outbox", "ls", "parcel")
	require.Equal(t, cli.ExitOK, answered, errs)
	require.Regexp(t, `(?m)\AID +CONTRACT +KEY +STATE +AGE +DUE IN +TROUBLE\nlong +parcel\.sent +Low Road +aside +.*too large.*\nbehind .*\ntomorrow .* 23h`, out)
	answered, out, errs = operate(t, broker, "outbox", "show", "parcel", "behind")
	require.Equal(t, cli.ExitOK, answered, errs)
	require.Contains(t, out, `"street": "Low Road"`)
	require.NotContains(t, out, "1234", "it is a secret")
	for args, want := range map[string]struct {
		code cli.ExitCode
		text string
	}{
		"outbox ls nobody":                {cli.ExitNotFound, `the catalog has no service "nobody"`},
		"outbox ls parcel --state no":     {cli.ExitUsage, "it must be aside, blocked, ready or later"},
		"outbox ls parcel --limit 0":      {cli.ExitUsage, "it must be 1 to 1000"},
		"outbox show parcel none":         {cli.ExitNotFound, "the outbox has no message none"},
		"outbox skip parcel long":         {cli.ExitUsage, "--yes is needed"},
		"outbox retry parcel behind":      {cli.ExitAnswered, "the message behind waits behind long"},
		"outbox cancel parcel long --yes": {cli.ExitNotFound, "no message long for later"},
	} {
		answered, _, errs := operate(t, broker, strings.Fields(args)...)
		require.Equal(t, want.code, answered, "%s: %s", args, errs)
		require.Contains(t, errs, want.text, args)
	}
	answered, out, errs = operate(t, broker, "outbox", "retry", "parcel", "long")
	require.Equal(t, cli.ExitOK, answered, errs)
	require.Equal(t, "long: will be sent\n", out)
	require.Eventually(t, func() bool {
		e, err := o.Get(ctx, "long")
		return err == nil && e.Tries == 2 && e.State == outbox.Aside
	}, patience, 10*time.Millisecond)

	code, _, errs = command(t, program, "outbox", "skip", "long")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--yes is needed where nobody can be asked: Remove 1 message of parcel? It will never be sent.")
	code, _, errs = command(t, program, "outbox", "skip", "behind", "--yes")
	require.Equal(t, 6, code)
	require.Contains(t, errs, "the message behind waits behind long")
	code, out, errs = command(t, program, "outbox", "retry", "long")
	require.Equal(t, 0, code, errs)
	require.Equal(t, "long: will be sent\n", out)
	require.Eventually(t, func() bool {
		e, err := o.Get(ctx, "long")
		return err == nil && e.Tries == 3 && e.State == outbox.Aside
	}, patience, 10*time.Millisecond)
	code, out, errs = command(t, program, "outbox", "skip", "long", "--yes")
	require.Equal(t, 0, code, errs)
	require.Equal(t, "long: removed\n", out)
	answered, out, errs = operate(t, broker, "outbox", "cancel", "parcel", "tomorrow", "none", "--yes", "-o", "json")
	require.Equal(t, cli.ExitPartial, answered, errs)
	require.JSONEq(t, `[{"id":"tomorrow","done":true,"error":null},{"id":"none","done":false,"error":"not_found: the outbox has no message none for later"}]`, out)
	var left int
	require.Eventually(t, func() bool {
		return db.QueryRowContext(ctx, "SELECT count(*) FROM leveret_outbox").Scan(&left) == nil && left == 0
	}, patience, 10*time.Millisecond)

	code, _, errs = command(t, program, "outbox", "show", "long")
	require.Equal(t, 5, code)
	require.Contains(t, errs, "the outbox has no message long")
	for args, want := range map[string]string{
		"outbox": "say what to do", "outbox ls --state no": "it must be aside, blocked, ready or later", "outbox retry": "give the id",
		"outbox ls -o xml": "it must be text, json or jsonl", "outbox ls --limit 0": "it must be 1 to 1000", "outbox show": "give the id of one message",
	} {
		code, _, errs = command(t, program, strings.Fields(args)...)
		require.Equal(t, 2, code, args)
		require.Contains(t, errs, want)
	}
}

// A service whose retries take longer than its inbox remembers is warned when it starts.
func TestInboxTooShort(t *testing.T) {
	t.Parallel()
	broker, dir := leverettest.Broker(t), t.TempDir()
	slow := leveret.NewCommand[parcel]("parcel.return", leveret.Retry(leveret.RetryPolicy{Attempts: 3, Delays: []time.Duration{time.Hour}}))
	program := parcelProgram(dir, broker)
	program.Service = leveret.NewService("parcel", leveret.Publishes(sent), leveret.Handles(slow), leveret.Remembers(100*24*time.Hour))
	program.Setup = func(ctx context.Context, rt *service.Runtime) error {
		db, err := parcelDatabase(dir)
		if err != nil {
			return err
		}
		rt.Close("database", db.Close)
		o, err := outbox.New(ctx, outbox.Config{DB: db, Logger: rt.Logger, Remember: 90 * time.Minute})
		if err == nil {
			rt.Relay(o)
			slow.Handle(rt.Handlers, func(context.Context, parcel) error { return nil })
		}
		return err
	}
	r := start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	require.Contains(t, r.log.String(), `"needed":"leveret.Remembers(2400h0m0s)"`)
	require.Contains(t, r.log.String(), `"needed":"the retries of parcel.return, 2h0m0s"`)
}
