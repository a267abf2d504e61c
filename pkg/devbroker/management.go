package devbroker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// management calls the management API, on a new connection so that nothing outlives
// the call. The statuses in accept are not errors.
func (a address) management(ctx context.Context, method, path string, body, into any, accept ...int) error {
	if a.Management == "" {
		return errors.New("no management API is known for this broker: set " + EnvManagementURL)
	}
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, a.Management+path, payload)
	if err != nil {
		return err
	}
	request.SetBasicAuth(a.Username, a.Password)
	if login := a.managementLogin; login != nil {
		password, _ := login.Password()
		request.SetBasicAuth(login.Username(), password)
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		if slices.Contains(accept, response.StatusCode) {
			return nil
		}
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(text)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// overview returns RabbitMQ's version and the cluster's name.
func (a address) overview(ctx context.Context) (version, cluster string, err error) {
	var overview struct {
		Version string `json:"rabbitmq_version"`
		Cluster string `json:"cluster_name"`
	}
	err = a.management(ctx, http.MethodGet, "/api/overview", nil, &overview)
	return overview.Version, overview.Cluster, err
}

func (a address) createVHost(ctx context.Context, name string) error {
	if err := a.management(ctx, http.MethodPut, "/api/vhosts/"+url.PathEscape(name), struct{}{}, nil); err != nil {
		return err
	}
	all := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	return a.management(ctx, http.MethodPut, "/api/permissions/"+url.PathEscape(name)+"/"+url.PathEscape(a.Username), all, nil)
}

func (a address) deleteVHost(ctx context.Context, name string) error {
	return a.management(ctx, http.MethodDelete, "/api/vhosts/"+url.PathEscape(name), nil, nil, http.StatusNotFound)
}
