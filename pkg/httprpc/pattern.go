package httprpc

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// methods are those that a pattern may have. GET answers HEAD, too.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// A pattern is where a request is served: "GET /orders/{order_id}".
type pattern struct {
	text     string
	method   string
	segments []segment
}

// A segment is what follows one slash: a text as it stands in a URL, or the name of a parameter.
type segment struct {
	text, param string
	rest        bool // the parameter is all that follows: {path...}
}

// parsePattern reads a pattern of net/http that has a method, no host, and ends where its text ends.
func parsePattern(text string) (p pattern, err error) {
	if err := registers(http.NewServeMux(), text); err != nil {
		return p, err
	}
	method, path, found := strings.Cut(text, " ")
	path = strings.TrimLeft(path, " \t")
	if !found || !slices.Contains(methods, method) {
		return p, fmt.Errorf("the pattern %q must begin with one of %s", text, strings.Join(methods, ", "))
	}
	if !strings.HasPrefix(path, "/") {
		return p, fmt.Errorf("the pattern %q must have a path and no host", text)
	}
	p = pattern{text: text, method: method}
	path, exact := strings.CutSuffix(path, "{$}")
	if !exact && strings.HasSuffix(path, "/") {
		return p, fmt.Errorf("the pattern %q matches all paths below it; let it end in {$} or in a parameter", text)
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			p.segments = append(p.segments, segment{text: part})
			continue
		}
		name, rest := strings.CutSuffix(strings.TrimSuffix(name, "}"), "...")
		p.segments = append(p.segments, segment{param: name, rest: rest})
	}
	return p, nil
}

// registers reports why a mux refuses a pattern.
func registers(mux *http.ServeMux, text string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("net/http refuses the pattern %q: %v", text, v)
		}
	}()
	mux.Handle(text, http.NotFoundHandler())
	return nil
}

// params returns the names of the parameters in the path, in their order.
func (p pattern) params() []string {
	var names []string
	for _, s := range p.segments {
		if s.param != "" {
			names = append(names, s.param)
		}
	}
	return names
}

// template returns the path as OpenAPI has it.
func (p pattern) template() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		if s.param != "" {
			b.WriteString("{" + s.param + "}")
		} else {
			b.WriteString(s.text)
		}
	}
	return b.String()
}

// fill returns the path with the parameters that value returns, escaped.
func (p pattern) fill(value func(param string) (string, error)) (string, error) {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		if s.param == "" {
			b.WriteString(s.text)
			continue
		}
		text, err := value(s.param)
		if err != nil {
			return "", err
		}
		switch {
		case text == "":
			return "", violation(s.param, "must not be empty: it is a part of the path")
		case text == "/", s.rest && (text[0] == '/' || strings.Contains(text, "//")):
			// net/http takes the one for the end of the path, escaped or not, and shortens the others.
			return "", violation(s.param, "must not have an empty part before or after a slash: it is a part of the path")
		case !s.rest:
			b.WriteString(escape(text))
			continue
		}
		for i, part := range strings.Split(text, "/") {
			if i > 0 {
				b.WriteByte('/')
			}
			b.WriteString(escape(part))
		}
	}
	return b.String(), nil
}

// bodyless reports whether requests of this method have no body, so that all fields are parameters.
func (p pattern) bodyless() bool { return p.method == http.MethodGet || p.method == http.MethodDelete }

// checkParams returns what is wrong with the parameters of a pattern for a payload.
func (p pattern) checkParams(f fields) error {
	var errs []error
	inPath := p.params()
	for _, name := range inPath {
		switch known := f.byName[name]; {
		case known == nil:
			errs = append(errs, fmt.Errorf("the pattern %q has the parameter %q, which is no field of the payload", p.text, name))
		case known.list:
			errs = append(errs, fmt.Errorf("the pattern %q has the parameter %q, which is a list", p.text, name))
		case known.cannot != "":
			errs = append(errs, fmt.Errorf("the pattern %q has the parameter %q: the field %s", p.text, name, known.cannot))
		}
	}
	if !p.bodyless() {
		return errors.Join(errs...)
	}
	if !f.object {
		errs = append(errs, fmt.Errorf("the pattern %q has no body, and the payload is no struct, whose fields would be parameters", p.text))
	}
	for _, known := range f.all {
		if known.cannot != "" && !slices.Contains(inPath, known.name) {
			errs = append(errs, fmt.Errorf("the pattern %q has no body, and the field %q %s", p.text, known.name, known.cannot))
		}
	}
	return errors.Join(errs...)
}
