package httprpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A statusError is an error for which HTTP has a better status than its code.
type statusError struct {
	error
	status int
}

func (e *statusError) Unwrap() error { return e.error }

// payload returns the payload of a request: the body as it came, or, where there are parameters, what they and the body
// make together.
func (s *Server) payload(w http.ResponseWriter, r *http.Request, rt *route) ([]byte, error) {
	body, err := s.body(w, r)
	if err != nil {
		return nil, err
	}
	if s.config.Strict && len(body) > 0 {
		if err := known(body, rt.spec.Payload); err != nil {
			return nil, err
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, leveret.Errorf(leveret.InvalidArgument, "the query is malformed: %w", err)
	}
	if len(rt.params) == 0 && len(query) == 0 && !rt.bodiless() {
		return body, nil
	}
	fields := make(map[string]json.RawMessage)
	if len(bytes.TrimSpace(body)) > 0 {
		if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
			return nil, leveret.Errorf(leveret.InvalidArgument, "the body is not a JSON object")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		f, ok := rt.fields[name]
		if !ok {
			return nil, wrong(name, "is no parameter of this request")
		}
		if err := set(fields, name, f, query[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range rt.params {
		if err := set(fields, name, rt.fields[name], []string{r.PathValue(name)}); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// set sets a field to the value of a parameter. It refuses another value that the field has already.
func set(fields map[string]json.RawMessage, name string, f field, values []string) error {
	value, err := f.encode(name, values)
	if err != nil {
		return err
	}
	for have := range fields { // encoding/json takes a name in any case
		if strings.EqualFold(have, name) && !bytes.Equal(bytes.TrimSpace(fields[have]), value) {
			return wrong(name, "is given twice, with different values")
		}
		if strings.EqualFold(have, name) {
			delete(fields, have)
		}
	}
	fields[name] = value
	return nil
}

// body reads the body of a request, which must be JSON.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, &statusError{leveret.Errorf(leveret.InvalidArgument, "the body is too large; the limit is %d bytes", tooLarge.Limit),
				http.StatusRequestEntityTooLarge}
		}
		return nil, leveret.Errorf(leveret.InvalidArgument, "the body ends in the middle")
	}
	if len(body) == 0 {
		return body, nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(params["charset"])
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") || charset != "" && charset != "utf-8" {
		return nil, &statusError{leveret.Errorf(leveret.InvalidArgument, "the Content-Type must be application/json"), http.StatusUnsupportedMediaType}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, &statusError{leveret.Errorf(leveret.InvalidArgument, "the body must not be compressed"), http.StatusUnsupportedMediaType}
	}
	return body, nil
}

// known returns an error if a body has a field that its type has not.
func known(body []byte, t reflect.Type) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(reflect.New(t).Interface())
	if err == nil {
		return nil
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return wrong(strings.Trim(name, `"`), "is no field of this request")
	}
	return nil // which decoding the payload will say better
}
