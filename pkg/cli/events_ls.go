package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
)

// keptView is a kept event under -o json.
type keptView struct {
	Event  string `json:"event"`
	Stream string `json:"stream"`
	// MaxAge and MaxBytes are its limits, as the contract says.
	MaxAge   int64 `json:"max_age_s"`
	MaxBytes int64 `json:"max_bytes"`
	// Declared says whether the stream exists; null where this user may not read it.
	Declared *bool `json:"declared"`
	// Events is about how many there are.
	Events *int64 `json:"events"`
	// First and Last are the ends of the stream; null where it has no events.
	First *keptEnd `json:"first"`
	Last  *keptEnd `json:"last"`
	// Readers read the stream, Subscribers have queues of their own.
	Readers     []string `json:"readers"`
	Subscribers []string `json:"subscribers"`
}

// keptEnd is an event at an end of a stream.
type keptEnd struct {
	Offset int64      `json:"offset"`
	ID     string     `json:"id"`
	SentAt *time.Time `json:"sent_at"`
}

func (a *App) eventsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the kept events: how many, from when to when, and who reads them",
		Long: "List the kept events of the catalog. EVENTS is about how many there are: RabbitMQ leaves out an offset now and then.\n" +
			"OLDEST and NEWEST are how long ago the first and the last of them were sent. READERS read the stream, SUBSCRIBERS have\n" +
			"queues of their own. It takes some seconds where a stream is empty.",
		Example: fmt.Sprintf("  %[1]s events ls\n  %[1]s events ls -o json", a.Name),
		Args:    Arguments(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.listEvents(cmd.Context()) },
	}
}

// streamsAtOnce is how many streams are looked at together.
const streamsAtOnce = 16

func (a *App) listEvents(ctx context.Context) error {
	events := a.keptEvents()
	if len(events) == 0 {
		if a.Format() == FormatText {
			a.Note("the catalog has no event that is kept: contracts say so with the option Kept")
			return nil
		}
		return PrintList(a, []keptView(nil), nil)
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx, conn)
	all, failures := make([]keptView, len(events)), make([]error, len(events))
	looks, looking := errgroup.WithContext(ctx)
	looks.SetLimit(streamsAtOnce)
	for i, c := range events {
		looks.Go(func() (err error) {
			all[i], err = a.lookAtKept(looking, conn, c)
			if err == nil || looking.Err() != nil || errors.Is(err, rabbit.ErrNotConnected) {
				return err
			}
			failures[i] = a.explainStream(c.Spec(), err)
			return nil
		})
	}
	if err := looks.Wait(); err != nil {
		return a.reading(err)
	}
	return a.printKept(all, failures)
}

// printKept prints what was found, and returns the error of streams that could not be read.
func (a *App) printKept(all []keptView, failures []error) error {
	failed, n := error(nil), 0
	for i, v := range all {
		switch {
		case failures[i] != nil:
			a.Warn("%s was not read: %v", v.Stream, failures[i])
			failed = failures[i]
			n++
		case !*v.Declared:
			a.Warn("the stream %s does not exist: a service that publishes %s, or reads it, declares it", v.Stream, v.Event)
		}
	}
	if n == len(all) {
		return failed
	}
	if err := PrintList(a, all, func() *term.Table { return keptTable(all) }); err != nil || n == 0 {
		return err
	}
	return Fail(ExitPartial, nextOf(failed), "%d of %d streams could not be read", n, len(all))
}

// lookAtKept finds out what there is of an event.
func (a *App) lookAtKept(ctx context.Context, conn *leveret.Conn, c leveret.Contract) (keptView, error) {
	spec, yes, no := c.Spec(), true, false
	v := keptView{
		Event: spec.Name, Stream: a.names().KeptStream(spec.Name), MaxAge: int64(spec.Kept.Age / time.Second), MaxBytes: spec.Kept.Bytes,
		Readers: names(a.Catalog.ServicesWith(c, leveret.RoleReads)), Subscribers: a.subscribers(c),
	}
	ends, err := stream.Look(ctx, conn.Rabbit(), v.Stream)
	if errors.Is(err, rabbit.ErrNotFound) {
		v.Declared = &no
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Declared, v.Events = &yes, new(int64)
	if ends.Empty {
		return v, nil
	}
	*v.Events = ends.Last - ends.First + 1
	if v.First, err = endAt(ctx, conn, v.Stream, ends.First); err == nil {
		v.Last, err = endAt(ctx, conn, v.Stream, ends.Last)
	}
	return v, err
}

// endAt returns the event at an end of a stream.
func endAt(ctx context.Context, conn *leveret.Conn, name string, offset int64) (*keptEnd, error) {
	e, err := eventAt(ctx, conn, name, offset)
	if err != nil {
		return nil, err
	}
	v := &keptEnd{Offset: e.Offset, ID: e.MessageId}
	if sent := e.Sent().UTC(); !sent.IsZero() {
		v.SentAt = &sent
	}
	return v, nil
}

// keptTable lists kept events, one per line.
func keptTable(all []keptView) *term.Table {
	t := term.NewTable("EVENT", "STREAM", "MAX AGE#", "MAX SIZE#", "EVENTS#", "OFFSETS", "OLDEST#", "NEWEST#", "READERS", "SUBSCRIBERS")
	for _, v := range all {
		events, offsets, oldest, newest := "", "-", "", ""
		if v.Events != nil {
			events = strconv.FormatInt(*v.Events, 10)
		}
		if v.First != nil && v.Last != nil {
			offsets = fmt.Sprintf("%d-%d", v.First.Offset, v.Last.Offset)
			oldest, newest = agePointer(v.First.SentAt), agePointer(v.Last.SentAt)
		}
		age := float64(v.MaxAge)
		t.Add(term.Painted(v.Event, term.Bold), term.Plain(v.Stream), term.Plain(secondsText(&age)), term.Plain(bytesText(v.MaxBytes)),
			term.Plain(events), term.Plain(offsets), term.Plain(oldest), term.Plain(newest), term.Plain(list(v.Readers)), term.Plain(list(v.Subscribers)))
	}
	return t
}

// bytesText writes a size as people do, with the prefixes of the metric system: 1 GB.
func bytesText(n int64) string {
	size, unit := float64(n), "B"
	for _, larger := range [...]string{"kB", "MB", "GB", "TB"} {
		if size < 1000 {
			break
		}
		size, unit = size/1000, larger
	}
	return strconv.FormatFloat(math.Round(size*10)/10, 'f', -1, 64) + " " + unit
}
