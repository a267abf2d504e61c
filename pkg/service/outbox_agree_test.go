package service_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
)

// examined returns what leveret status finds of a check.
func examined(t *testing.T, broker, check string) (found []string) {
	t.Helper()
	_, out, errs := operate(t, broker, "status", "-o", "json")
	var r health.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r), "%s%s", out, errs)
	for _, f := range r.Findings {
		if f.Check == check {
			found = append(found, string(f.State)+" "+f.Text)
		}
	}
	return found
}

// atOnce begins the program, and waits until its outbox has a message in a state.
func atOnce(t *testing.T, program service.Program, broker, dir string, o *outbox.Outbox, id string, state outbox.State) *running {
	t.Helper()
	r := start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	require.Eventually(t, func() bool { e, err := o.Get(t.Context(), id); return err == nil && e.State == state }, patience, tick)
	return r
}

// The commands of leveret and those of the service's own binary print the same, and end with the same exit codes.
func TestOutboxCommandsAgree(t *testing.T) {
	t.Parallel()
	broker, dir, ctx := leverettest.Broker(t), t.TempDir(), t.Context()
	o := parcelOutbox(t, dir)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		in := outbox.In(tx)
		return errors.Join(
			sent.Publish(ctx, in, parcel{Street: "Low Road", Note: strings.Repeat("x", 2000)}, leveret.MessageID("long")),
			sent.Publish(ctx, in, parcel{Street: "Low Road"}, leveret.MessageID("behind")),
			sent.Publish(ctx, in, parcel{Street: "Mill Lane"}, leveret.MessageID("tomorrow"), leveret.After(24*time.Hour+time.Minute), leveret.Header("by", "bus")),
		)
	}))
	program := parcelProgram(dir, broker)
	atOnce(t, program, broker, dir, o, "long", outbox.Aside)
	for _, test := range []struct {
		args      string
		code      int
		out, errs string
	}{
		{"ls", 0, "tomorrow", ""},
		{"ls --state later", 0, "tomorrow  parcel.sent  Mill Lane  later    -     24h  -\n", ""},
		{"ls --state ready", 0, "", "no message of parcel is ready\n"},
		{"ls --limit 1", 0, "long", "there may be more than these 1: --limit lists up to 1000\n"},
		{"ls -o json", 0, `"state": "aside"`, ""},
		{"ls -o jsonl", 0, `"state":"later"`, ""},
		{"ls --state set-aside", 2, "", "it must be aside, blocked, ready or later"},
		{"ls --limit 1001", 2, "", "it must be 1 to 1000"},
		{"ls -o xml", 2, "", "it must be "},
		{"show behind", 0, `"headers": {}`, ""},
		{"show tomorrow -o jsonl", 0, `"headers":{"by":"bus"}`, ""},
		{"show none", 5, "", "the outbox has no message none"},
		{"skip long", 2, "", "--yes is needed where nobody can be asked: Remove 1 message of parcel? It will never be sent."},
		{"cancel long tomorrow", 2, "", "--yes is needed where nobody can be asked: Remove 2 messages of parcel? They will never be sent."},
		{"skip behind --yes", 6, "", "the message behind waits behind long"},
		{"skip none behind --yes -o json", 5, `"done": false`, "the message behind waits behind long"}, // the first error counts,
		{"retry tomorrow", 6, "", "outbox cancel removes it"},
		{"cancel behind --yes", 5, "", "no message behind for later"},
		{"retry long none", 3, "long: will be sent\n", "1 of 2 failed: "},
	} {
		require.Eventually(t, func() bool { e, err := o.Get(ctx, "long"); return err == nil && e.State == outbox.Aside }, patience, tick)
		fields := strings.Fields(test.args)
		code, out, errs := command(t, program, append([]string{"outbox"}, fields...)...)
		require.Eventually(t, func() bool { e, err := o.Get(ctx, "long"); return err == nil && e.State == outbox.Aside }, patience, tick)
		answered, out2, errs2 := operate(t, broker, slices.Concat([]string{"outbox", fields[0], "parcel"}, fields[1:])...)
		require.Equal(t, test.code, code, "%s: %s", test.args, errs)
		require.EqualValues(t, test.code, answered, "%s: %s", test.args, errs2)
		require.Contains(t, out, test.out, test.args)
		require.Contains(t, errs, test.errs, test.args)
		require.Contains(t, errs2, test.errs, test.args)
		if fields[0] != "show" && !strings.Contains(out, "s ") { // ages differ, and the tries
			require.Equal(t, out, out2, test.args)
		} else {
			require.Contains(t, out2, test.out, test.args)
		}
		require.NotContains(t, errs+errs2, "--dry-run", test.args)
	}
}

// What is over is not reported: status looks when it is asked.
func TestStatusOfWhatIsOver(t *testing.T) {
	t.Parallel()
	broker, dir, ctx := leverettest.Broker(t), t.TempDir(), t.Context()
	o := parcelOutbox(t, dir)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return sent.Publish(ctx, outbox.In(tx), parcel{Note: strings.Repeat("x", 2000)}, leveret.MessageID("long"))
	}))
	program := parcelProgram(dir, broker)
	r := atOnce(t, program, broker, dir, o, "long", outbox.Aside)
	require.Eventually(t, func() bool {
		_, body := r.get(t, "/readyz")
		return strings.Contains(body, "outbox: set aside: 1")
	}, patience, tick)
	require.Eventually(t, func() bool {
		found := examined(t, broker, health.CheckOutbox)
		return slices.Equal(found, []string{"failed 1 message in the outbox of parcel cannot be sent"})
	}, patience, tick)
	code, _, errs := command(t, program, "outbox", "skip", "long", "--yes")
	require.Equal(t, 0, code, errs)
	require.Equal(t, []string{"ok no message waits in an outbox for longer than it should"}, examined(t, broker, health.CheckOutbox))
}

// A message of a contract that the service does not declare is a trouble with its remedy, and can be skipped.
func TestStatusOfAnUndeclaredContract(t *testing.T) {
	t.Parallel()
	broker, dir, ctx := leverettest.Broker(t), t.TempDir(), t.Context()
	o := parcelOutbox(t, dir)
	lost := leveret.NewEvent[parcel]("parcel.lost")
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return lost.Publish(ctx, outbox.In(tx), parcel{}, leveret.MessageID("lost"))
	}))
	atOnce(t, parcelProgram(dir, broker), broker, dir, o, "lost", outbox.Ready)
	require.Eventually(t, func() bool {
		return slices.Equal(examined(t, broker, health.CheckOutbox), []string{
			"failed messages in the outbox of parcel wait: parcel does not declare that it sends parcel.lost: add leveret.Publishes or leveret.Sends, or run a version that does",
		})
	}, patience, tick)
	require.Eventually(t, func() bool {
		answered, out, _ := operate(t, broker, "outbox", "skip", "parcel", "lost", "--yes")
		return answered == cli.ExitOK && out == "lost: removed\n"
	}, patience, tick)
	require.Eventually(t, func() bool {
		return slices.Equal(examined(t, broker, health.CheckOutbox), []string{"ok no message waits in an outbox for longer than it should"})
	}, patience, tick)
}

// An outbox that could not be looked at is a warning.
func TestStatusOfAnUnseenOutbox(t *testing.T) {
	t.Parallel()
	broker, dir := leverettest.Broker(t), t.TempDir()
	const silent = "warning the outbox of parcel: its processes do not answer; if there is an outbox, the command outbox of the service's own binary shows it"
	require.NotContains(t, examined(t, broker, health.CheckUnseen), silent, "none runs")
	deaf(t, broker, "parcel")
	require.Contains(t, examined(t, broker, health.CheckUnseen), silent)

	program := parcelProgram(dir, broker)
	setup := program.Setup
	blind := func(ctx context.Context, rt *service.Runtime) error { // its database is gone
		db, err := parcelDatabase(dir)
		if err != nil {
			return err
		}
		o, err := outbox.New(ctx, outbox.Config{DB: db, Logger: rt.Logger})
		if err == nil {
			rt.Relay(o)
		}
		return errors.Join(err, db.Close())
	}
	program.Setup = blind
	r := start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	require.Eventually(t, func() bool {
		return slices.Contains(examined(t, broker, health.CheckUnseen), "warning the outbox of parcel: unavailable: look at the outbox: sql: database is closed")
	}, patience, tick)
	_, body := r.get(t, "/readyz")
	require.Contains(t, body, "outbox: sql: database is closed")
	require.Equal(t, 0, r.end(t))

	program.Setup = setup
	r = start(t, program, map[string]string{"data.dir": dir, "broker.url": broker})
	r.log.await(t, "ready")
	require.Eventually(t, func() bool {
		return slices.Equal(examined(t, broker, health.CheckOutbox), []string{"ok no message waits in an outbox for longer than it should"})
	}, patience, tick)
	require.NotContains(t, examined(t, broker, health.CheckUnseen), silent)
}

// deaf makes a queue in which operators' questions to a service arrive, as those of a process that is stopped do.
func deaf(t *testing.T, broker, service string) {
	t.Helper()
	conn, err := amqp.Dial(broker)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDeclare("operators", amqp.ExchangeDirect, true, false, false, false, nil))
	_, err = ch.QueueDeclare("deaf", false, false, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind("deaf", "report."+service, "operators", false, nil))
}

// leveret outbox says why it has nothing to ask.
func TestNoOutbox(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	code, _, errs := operate(t, broker, "outbox", "ls", "parcel")
	require.Equal(t, cli.ExitNotFound, code)
	require.Contains(t, errs, "parcel: none of its processes can be asked: none runs")
	handled := leveret.NewCommand[parcel]("parcel.return")
	program := service.Program{
		Service: leveret.NewService("parcel", leveret.Handles(handled)),
		Setup: func(_ context.Context, rt *service.Runtime) error {
			handled.Handle(rt.Handlers, func(context.Context, parcel) error { return nil })
			return nil
		},
	}
	r := start(t, program, map[string]string{"broker.url": broker})
	r.log.await(t, "ready")
	require.Eventually(t, func() bool {
		code, _, errs = operate(t, broker, "outbox", "ls", "parcel")
		return code == cli.ExitNotFound && strings.Contains(errs, "parcel has no outbox (none of its processes runs a relay)")
	}, patience, tick, errs)
}
