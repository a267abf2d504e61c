package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/stream"
)

func (a *App) eventsCommand() *cobra.Command {
	return group("events", "List kept events, and copy them to a service",
		"List kept events, and copy them to a service. An event is kept where its contract says so: RabbitMQ then has each in a\n"+
			"stream, too, up to an age and a size.",
		a.eventsListCommand(), a.eventsReplayCommand())
}

// keptEvents returns the contracts of the catalog whose events are kept.
func (a *App) keptEvents() []leveret.Contract {
	return slices.DeleteFunc(a.Catalog.Contracts(), func(c leveret.Contract) bool { return c.Spec().Kept == nil })
}

// keptEvent finds a kept event by its name.
func (a *App) keptEvent(name string) (leveret.Contract, error) {
	c, err := a.contract(name, leveret.KindEvent)
	if err == nil && c.Spec().Kept == nil {
		err = usage(a.Name+" events ls", "%s is not kept: its contract would need the option Kept", name)
	}
	return c, err
}

// someKept returns a kept event for the examples in help.
func (a *App) someKept() string {
	if all := a.keptEvents(); len(all) > 0 {
		return all[0].Spec().Name
	}
	return "service.happened"
}

func (a *App) completeKept() cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			for _, c := range a.keptEvents() {
				found = append(found, c.Spec().Name)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// subscribers returns the names of the services that subscribe to an event.
func (a *App) subscribers(event leveret.Contract) []string {
	return names(a.Catalog.ServicesWith(event, leveret.RoleSubscribes))
}

// eventAt returns the first event from an offset on, of a stream that had one there.
func eventAt(ctx context.Context, conn *leveret.Conn, name string, offset int64) (*stream.Event, error) {
	e, err := stream.Find(ctx, conn.Rabbit(), name, stream.Offset(offset))
	if err == nil && e == nil {
		err = &endsEarlyError{name, offset}
	}
	return e, err
}

// endsEarlyError says that a stream does not have an event any more that it had, and ends before it.
type endsEarlyError struct {
	stream string
	offset int64
}

func (e *endsEarlyError) Error() string {
	return fmt.Sprintf("the stream %s ends before offset %d: it was deleted, and is another one now", e.stream, e.offset)
}

// explainStream adds to an error of a stream what to do about it.
func (a *App) explainStream(event leveret.Spec, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rabbit.ErrNotFound):
		return Fail(ExitNotFound, fmt.Sprintf("start %s once; it declares its streams", event.Owner()), "%w", err)
	case errors.Is(err, stream.ErrUndecided):
		return Fail(ExitUnreachable, "try again when the broker has less to do", "%w", err)
	default:
		return a.reading(err)
	}
}
