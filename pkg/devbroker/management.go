package devbroker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/leveretmq/leveret/pkg/management"
)

// management returns a client of the broker's management API.
func (a address) management() (*management.Client, error) { return a.managementIn(0) }

// managementIn is management with another limit for each request.
func (a address) managementIn(limit time.Duration) (*management.Client, error) {
	return management.New(management.Config{URL: a.Management, Broker: a.url("/"), TLS: a.tls, Timeout: limit})
}

// vhostLimit is for creating or deleting a virtual host, which is one request however much is in it. The caller's
// context usually ends sooner.
const vhostLimit = 10 * time.Minute

// overview returns RabbitMQ's version and the cluster's name.
func (a address) overview(ctx context.Context) (version, cluster string, err error) {
	var overview struct {
		Version string `json:"rabbitmq_version"`
		Cluster string `json:"cluster_name"`
	}
	api, err := a.management()
	if err == nil {
		err = api.Call(ctx, http.MethodGet, nil, &overview, "overview")
	}
	return overview.Version, overview.Cluster, err
}

func (a address) createVHost(ctx context.Context, name string) error {
	api, err := a.managementIn(vhostLimit)
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodPut, struct{}{}, nil, "vhosts", name); err != nil {
		return err
	}
	all := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	return api.Call(ctx, http.MethodPut, all, nil, "permissions", name, a.Username)
}

func (a address) setPassword(ctx context.Context, password string) error {
	api, err := a.management()
	if err != nil {
		return err
	}
	user := map[string]string{"password": password, "tags": "administrator"}
	return api.Call(ctx, http.MethodPut, user, nil, "users", a.Username)
}

func (a address) deleteVHost(ctx context.Context, name string) error {
	api, err := a.managementIn(vhostLimit)
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, nil, nil, "vhosts", name); !errors.Is(err, management.ErrNotFound) {
		return err
	}
	return nil
}

// Management returns a client of the broker's management API, logged in as the user of [Broker.Username]. It fails if
// the address of the API is malformed.
func (b *Broker) Management() (*management.Client, error) { return b.address.management() }
