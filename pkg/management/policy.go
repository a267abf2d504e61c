package management

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
)

// An AppliedPolicy is what policies do to a queue. At most one policy and one operator policy apply to it.
type AppliedPolicy struct {
	// Policy and Operator are their names; empty for none.
	Policy, Operator string
	// Definition has the values that count: of a key in both, usually the lower.
	Definition map[string]any
	// ByOperator are the keys whose value is the operator policy's.
	ByOperator map[string]bool
}

// Name names the policy that a key of the definition comes from.
func (p AppliedPolicy) Name(key string) string {
	if p.ByOperator[key] || p.Policy == "" {
		return "operator policy " + p.Operator
	}
	return "policy " + p.Policy
}

// A Governed is a queue's state, and what policies do to it.
type Governed struct {
	// State is "running" unless the queue is in trouble: "down", "minority", "crashed" and so on. It is empty until the
	// broker has counted.
	State string
	AppliedPolicy
}

// definition is an object, or an empty list where there is nothing in it.
type definition map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (d *definition) UnmarshalJSON(text []byte) error {
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		return json.Unmarshal(text, &[]any{})
	}
	*d = m
	return nil
}

// Governed returns the queues of a virtual host by name. The broker takes some seconds to show a new queue or policy
// there. The user needs a tag, such as monitoring. Its errors are those of [Client.Call].
func (c *Client) Governed(ctx context.Context, vhost string) (map[string]Governed, error) {
	operator, err := c.definitions(ctx, "operator-policies", vhost)
	if err != nil {
		return nil, err
	}
	user, err := c.definitions(ctx, "policies", vhost)
	if err != nil {
		return nil, err
	}
	found := map[string]Governed{}
	for page := 1; ; page++ {
		var list struct {
			Items []struct {
				Name       string     `json:"name"`
				State      string     `json:"state"`
				Policy     string     `json:"policy"`
				Operator   string     `json:"operator_policy"`
				Definition definition `json:"effective_policy_definition"`
			} `json:"items"`
			Pages int `json:"page_count"`
		}
		query := url.Values{
			"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(c.pageSize)},
			"columns": {"name,state,policy,operator_policy,effective_policy_definition"},
		}
		if err := c.call(ctx, http.MethodGet, query, nil, &list, "queues", vhost); err != nil {
			return nil, err
		}
		for _, q := range list.Items {
			found[q.Name] = Governed{q.State, AppliedPolicy{
				q.Policy, q.Operator, q.Definition, whose(q.Definition, user[q.Policy], operator[q.Operator]),
			}}
		}
		if page >= list.Pages {
			return found, nil
		}
	}
}

// definitions returns the policies of one kind by name.
func (c *Client) definitions(ctx context.Context, kind, vhost string) (map[string]definition, error) {
	var list []struct {
		Name       string     `json:"name"`
		Definition definition `json:"definition"`
	}
	err := c.call(ctx, http.MethodGet, nil, nil, &list, kind, vhost)
	found := make(map[string]definition, len(list))
	for _, p := range list {
		found[p.Name] = p.Definition
	}
	return found, err
}

// whose returns the keys whose value is the operator's.
func whose(effective, user, operator definition) map[string]bool {
	keys := map[string]bool{}
	for key, value := range effective {
		theirs, ok := operator[key]
		ours, both := user[key]
		if ok && (!both || reflect.DeepEqual(theirs, value) && !reflect.DeepEqual(ours, value)) {
			keys[key] = true
		}
	}
	return keys
}
