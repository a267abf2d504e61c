package httprpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// outgoing is how a contract is called.
type outgoing struct {
	spec    leveret.Spec
	pattern pattern
	codec   *codec
	fields  fields
	// repeatable says that net/http may send a request again by itself, which it does over HTTP/1.1 when a connection that
	// was idle breaks before the answer. That is right for what is idempotent; that a method promises to be is not enough.
	// Over HTTP/2 net/http does so only where the server says that it did not begin.
	repeatable bool
	fixed      map[*host]*url.URL // where there are no parameters
}

// fix makes the URLs of a request that always goes to the same path. They are not changed.
func (o *outgoing) fix(hosts *hosts) error {
	if o.pattern.bodyless() || len(o.pattern.params()) > 0 {
		return nil
	}
	path, err := o.pattern.fill(nil)
	o.fixed = make(map[*host]*url.URL, len(hosts.all))
	for _, h := range hosts.all {
		if o.fixed[h], err = h.at(path, ""); err != nil {
			return fmt.Errorf("the path %q: %w", path, err)
		}
	}
	return err
}

func newOutgoing(spec leveret.Spec, http2 bool) (*outgoing, error) {
	p, err := parsePattern(spec.HTTP)
	if err != nil {
		return nil, err
	}
	o := &outgoing{spec: spec, pattern: p, repeatable: spec.Idempotent || http2}
	if o.codec, err = codecOf(spec, p); err != nil {
		return nil, err
	}
	if o.codec == nil {
		o.fields = fieldsOf(spec.Payload)
	}
	return o, p.checkParams(o.fields)
}

// A target is where one request goes, and what it has as its body.
type target struct {
	path, query string
	body        []byte
}

// target takes the parameters of a request from its payload. All that is not in the path becomes the query or stays the
// body, by the method.
func (o *outgoing) target(payload []byte) (t target, err error) {
	if !o.pattern.bodyless() {
		t.body = payload
	}
	if o.fixed != nil {
		return t, nil
	}
	var members map[string]json.RawMessage
	if inPath := o.pattern.params(); len(inPath) > 0 || o.pattern.bodyless() {
		if err := json.Unmarshal(payload, &members); err != nil {
			return t, leveret.Errorf(leveret.InvalidArgument, "the payload is not a JSON object: %w", err)
		}
	}
	t.path, err = o.pattern.fill(func(param string) (string, error) {
		raw := members[param]
		delete(members, param)
		return o.fields.byName[param].decode(raw)
	})
	if err != nil || !o.pattern.bodyless() {
		return t, err
	}
	query := make(url.Values, len(members))
	for name, raw := range members {
		known := o.fields.byName[name]
		if known == nil {
			return t, violation(name, "is no field of the payload")
		}
		if query[name], err = known.values(raw); err != nil {
			return t, err
		}
	}
	t.query = query.Encode()
	return t, nil
}

// decode returns what a parameter in the path says.
func (f *field) decode(raw json.RawMessage) (string, error) {
	text, err := inText(raw)
	if err != nil || len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
		return "", violation(f.name, "must be a text, a number or a boolean")
	}
	return text, nil
}

// values returns what the parameters of a field say: several for a list, none for null.
func (f *field) values(raw json.RawMessage) ([]string, error) {
	items := []json.RawMessage{raw}
	if f.list {
		items = nil
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, violation(f.name, "must be a list")
		}
	}
	var values []string
	for _, item := range items {
		if !f.list && bytes.Equal(item, []byte("null")) {
			continue
		}
		value, err := f.decode(item)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

// request makes the HTTP request of one try, without its header.
func (o *outgoing) request(h *host, t target) (*http.Request, error) {
	u := o.fixed[h]
	if u == nil {
		var err error
		if u, err = h.at(t.path, t.query); err != nil {
			return nil, fmt.Errorf("the path %q: %w", t.path, err)
		}
	}
	r := &http.Request{
		Method: o.pattern.method, URL: u, Host: u.Host, Header: make(http.Header, 8), Pattern: o.pattern.text,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	reader := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.body)), nil }
	switch {
	case !o.pattern.bodyless():
		r.Body, _ = reader()
		r.ContentLength = int64(len(t.body))
		if o.repeatable {
			r.GetBody = reader
		}
	case !o.repeatable:
		// A body that net/http cannot read again keeps it from sending the request again, even if there is nothing in it.
		r.Body = io.NopCloser(eof{})
	}
	return r, nil
}

// eof is empty. It is not [http.NoBody], so that net/http does not know.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
