package httprpc

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Route says how a server serves one request. The zero value of a field is its default.
type Route struct {
	// Contract is the request. Required.
	Contract leveret.Contract
	// Pattern is the method and the path, as in net/http. Default that of the contract.
	Pattern string
	// Status is the status of a success. Default 200. With 204 the reply is not sent.
	Status int
	// Location is the value of the Location header of a success: a path, in which {field} stands for a field of the reply.
	Location string
	// Summary describes the route in the OpenAPI document, in one sentence.
	Summary string
	// Public says that the route needs no token where the others do: see [ServerConfig.Bearer].
	Public bool
}

// pattern is a parsed "METHOD /path/{parameter}".
type pattern struct {
	method, path string
	segments     []string // of the path: literals, and parameters in braces
	params       []string
	fields       map[string]field // of the payload
}

var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
}

var wildcard = regexp.MustCompile(`^\{([A-Za-z0-9_]+)\}$`)

// parsePattern parses a pattern of net/http, of which it takes what makes sense for requests: a method, a path without a
// host, and parameters that are whole segments and fields of the payload.
func parsePattern(text string, payload reflect.Type) (*pattern, error) {
	method, path, ok := strings.Cut(text, " ")
	if !ok || !methods[method] || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is no pattern such as \"GET /orders/{order_id}\"", text)
	}
	p := &pattern{method: method, path: path, fields: fieldsOf(payload)}
	for segment := range strings.SplitSeq(path[1:], "/") {
		p.segments = append(p.segments, segment)
		match := wildcard.FindStringSubmatch(segment)
		switch {
		case match == nil && strings.ContainsAny(segment, "{}?#"):
			return nil, fmt.Errorf("%q: %q must be a literal, or a field of the payload in braces", text, segment)
		case match != nil:
			f, known := p.fields[match[1]]
			if !known || f.list {
				return nil, fmt.Errorf("%q: %v has no field %q that a path can carry", text, payload, match[1])
			}
			p.params = append(p.params, match[1])
		}
	}
	return p, nil
}

// bodiless reports whether the payload travels in the path and the query alone.
func (p *pattern) bodiless() bool {
	return p.method == http.MethodGet || p.method == http.MethodHead || p.method == http.MethodDelete
}

// names reports whether a field is in the path.
func (p *pattern) names(field string) bool {
	for _, name := range p.params {
		if name == field {
			return true
		}
	}
	return false
}

// route is a Route that is served.
type route struct {
	Route
	*pattern

	spec leveret.Spec
}

func newRoute(r Route) (*route, error) {
	spec := r.Contract.Spec()
	if r.Pattern == "" {
		r.Pattern = spec.HTTP
	}
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	p, err := parsePattern(r.Pattern, spec.Payload)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	case r.Status < 200 || r.Status > 299:
		return nil, fmt.Errorf("%s: Status is %d; the status of a success is between 200 and 299", spec.Name, r.Status)
	}
	for _, match := range inBraces.FindAllStringSubmatch(r.Location, -1) {
		if f, ok := fieldsOf(spec.Reply)[match[1]]; !ok || f.list {
			return nil, fmt.Errorf("%s: Location: %v has no field %q that a path can carry", spec.Name, spec.Reply, match[1])
		}
	}
	return &route{Route: r, pattern: p, spec: spec}, nil
}

// routes returns the routes of all requests that a service answers, refined by given ones, and all that is wrong.
func routes(service *leveret.Service, given []Route) ([]*route, error) {
	var all []*route
	var errs []error
	add := func(r Route) {
		one, err := newRoute(r)
		if err != nil {
			errs = append(errs, err)
			return
		}
		all = append(all, one)
	}
	refined := make(map[leveret.Contract]Route)
	for i, r := range given {
		if r.Contract == nil {
			errs = append(errs, fmt.Errorf("Routes[%d] has no Contract", i))
			continue
		}
		if _, twice := refined[r.Contract]; twice {
			errs = append(errs, fmt.Errorf("Routes has %s twice", r.Contract.Spec().Name))
		}
		refined[r.Contract] = r
	}
	for _, c := range service.Contracts(leveret.RoleAnswers) {
		r, ok := refined[c]
		if !ok {
			r = Route{Contract: c}
		}
		delete(refined, c)
		add(r)
	}
	for c := range refined {
		errs = append(errs, fmt.Errorf("Routes has %s, which the service %q does not answer", c.Spec().Name, service.Name()))
	}
	return all, errors.Join(errs...)
}
