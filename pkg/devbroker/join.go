package devbroker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// joinable reports why no node with this configuration can join the broker's cluster.
func (b *Broker) joinable(c Config) error {
	switch {
	case c.URL != "":
		return errors.New("Config.URL names a broker that runs already, and cannot join another one")
	case b.node == nil:
		return ErrNotOurs
	case b.source.Kind == Container:
		return ErrContainer
	case b.shared:
		return ErrShared
	case b.closed.Load():
		return ErrClosed
	case c.KeepData || b.node.folder.keep:
		return errors.New("a node that keeps its data would wait at its next start for others that are gone")
	}
	return nil
}

// awaitMember returns when the broker knows that a new node runs. Queues that are declared there before that have no member
// on the new one.
func (b *Broker) awaitMember(ctx context.Context, node string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s does not see %s within %s", b.node.folder.node(), node, limit))
	defer cancel()
	for {
		names, err := b.address.running(ctx)
		if err == nil && slices.Contains(names, node) {
			return nil
		}
		if stopped := sleep(ctx, 50*time.Millisecond); stopped != nil {
			return errors.Join(stopped, err)
		}
	}
}

// running returns the names of the cluster's nodes that run.
func (a address) running(ctx context.Context) (names []string, err error) {
	all, err := a.members(ctx)
	for _, m := range all {
		if m.Running {
			names = append(names, m.Name)
		}
	}
	return names, err
}

// alone reports whether the cluster has no other node, even one that is down.
func (a address) alone(ctx context.Context) bool {
	all, err := a.members(ctx)
	return err == nil && len(all) == 1
}

// A member is a node of the cluster, as the management API describes it.
type member struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
}

func (a address) members(ctx context.Context) (all []member, err error) {
	api, err := a.management()
	if err == nil {
		err = api.Call(ctx, http.MethodGet, nil, &all, "nodes")
	}
	return all, err
}
