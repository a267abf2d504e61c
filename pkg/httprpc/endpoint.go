package httprpc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// A Route says where and how one request is served. The zero value of a field is its default.
type Route struct {
	// Contract is the request.
	Contract leveret.Contract
	// Pattern is one of net/http's: "GET /orders/{order_id}". Default: the contract's.
	Pattern string
	// Status is that of a success. With 204 the reply is not sent. Default 200.
	Status int
	// Location is a path that is sent with a success, filled from the reply's fields: "/orders/{order_id}". Optional.
	Location string
	// Summary describes the route in the OpenAPI document. Default: the contract's name.
	Summary string
	// Public says that the route needs no bearer token: see [ServerConfig].
	Public bool
}

func (r Route) name() string {
	if r.Contract == nil {
		return "a route without a contract"
	}
	return r.Contract.Spec().Name
}

// An endpoint serves one route.
type endpoint struct {
	server   *Server
	route    Route
	spec     leveret.Spec
	pattern  pattern
	codec    *codec
	fields   fields
	location *pattern // nil without one
	reply    fields
	empty    bool // a request without a body and without parameters is an empty object
}

func newEndpoint(s *Server, r Route) (e *endpoint, err error) {
	e = &endpoint{server: s, route: r, spec: r.Contract.Spec()}
	e.route.Status = cmp.Or(r.Status, http.StatusOK)
	e.route.Summary = cmp.Or(r.Summary, e.spec.Name)
	if e.route.Status < 200 || e.route.Status > 299 {
		return nil, fmt.Errorf("Status is %d; it must be one of a success, from 200 to 299", r.Status)
	}
	if e.pattern, err = parsePattern(cmp.Or(r.Pattern, e.spec.HTTP)); err != nil {
		return nil, err
	}
	if e.codec, err = codecOf(e.spec, e.pattern); err != nil {
		return nil, err
	}
	if e.codec == nil {
		e.fields, e.reply = fieldsOf(e.spec.Payload), fieldsOf(e.spec.Reply)
	}
	if err := e.pattern.checkParams(e.fields); err != nil {
		return nil, err
	}
	e.empty = e.pattern.bodyless() || e.fields.object && len(e.fields.all) == 0
	if r.Location != "" {
		location, err := parsePattern("GET " + r.Location)
		if err == nil {
			err = location.checkLocation(e.reply)
		}
		if err != nil {
			return nil, fmt.Errorf("Location is %q: %w", r.Location, err)
		}
		e.location = &location
	}
	return e, nil
}

// checkLocation returns what a location needs and a reply does not have.
func (p pattern) checkLocation(reply fields) error {
	for _, name := range p.params() {
		if known := reply.byName[name]; known == nil || known.list || known.cannot != "" {
			return fmt.Errorf("%q is no field of the reply that a path can hold", name)
		}
	}
	return nil
}

// ServeHTTP handles one request and answers it.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, arrived := r.Context(), time.Now()
	traced := r.Header["Traceparent"] != nil || r.Header["Baggage"] != nil
	if traced && !e.server.observed && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = w3c{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	w.Header()[rpc.AnsweredBy] = e.server.answeredBy
	m, err := e.message(w, r, arrived)
	if err != nil {
		_ = WriteProblem(w, err) // it fails only where the client is gone
		return
	}
	if r.Context().Err() != nil {
		return // the client is gone
	}
	w.Header()[rpc.Conversation] = []string{rpc.EncodeText(m.ConversationID)}
	o := e.server.handlers.Process(ctx, m, func(ctx context.Context, o leveret.Outcome) error {
		return errors.Join(e.answer(ctx, w, m, o.Err), r.Context().Err())
	})
	if o.Verdict == 0 { // no handler was called, and nothing has answered
		_ = e.answer(ctx, w, m, leveret.Errorf(leveret.Internal, "%w", o.Err))
	}
}

// message makes the message that a request carries.
func (e *endpoint) message(w http.ResponseWriter, r *http.Request, arrived time.Time) (*leveret.Message, error) {
	if len(r.Header[rpc.IdempotencyKey]) > 1 {
		return nil, violation(rpc.IdempotencyKey, "is given more than once")
	}
	m, err := rpc.Read(get(r.Header))
	if err != nil {
		return nil, err
	}
	limit, err := rpc.ParseTimeout(r.Header.Get(rpc.Timeout), e.spec.Timeout)
	if err != nil {
		return nil, err
	}
	m.Contract, m.Deadline = e.route.Contract, arrived.Add(limit)
	if m.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, leveret.Errorf(leveret.Internal, "no id can be made: %w", err)
		}
		m.ID = id.String()
	}
	m.ConversationID = cmp.Or(m.ConversationID, m.ID)
	if !accepts(r.Header.Values("Accept")) {
		return nil, refuse(http.StatusNotAcceptable, leveret.InvalidArgument, "answers are %s; Accept does not allow it", contentTypeJSON)
	}
	body, err := e.read(w, r, m.Deadline)
	if err != nil {
		return nil, err
	}
	m.Body, err = e.payload(r, body)
	return m, err
}

// firstRead is how much room is made for a body before any of it has arrived. What a client says of its length costs it
// nothing, and HTTP/2 lets one connection begin hundreds of requests.
const firstRead = 4 << 10

// read reads the body of a request to its end, after which net/http notices a client that hangs up.
func (e *endpoint) read(w http.ResponseWriter, r *http.Request, deadline time.Time) ([]byte, error) {
	limit := e.server.config.MaxBody
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return nil, tooLarge(limit)
	}
	control := http.NewResponseController(w)
	if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok || s.ReadTimeout == 0 { // whose own limit holds
		_ = control.SetReadDeadline(deadline)
	}
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), firstRead)) + bytes.MinRead)
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{}) // or the end of ReadTimeout would end the handler's context
		return b.Bytes(), e.checkType(r, b.Len())
	}
	w.Header().Set("Connection", "close") // what is left of the body is no request
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(limit)
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return nil, refuse(http.StatusRequestTimeout, leveret.DeadlineExceeded, "the body did not arrive in time")
	}
	return nil, leveret.Errorf(leveret.InvalidArgument, "the body cannot be read to its end")
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, leveret.InvalidArgument, "the body is larger than %d bytes", limit)
}

// checkType refuses a body that is not JSON.
func (e *endpoint) checkType(r *http.Request, length int) error {
	if length == 0 {
		return nil
	}
	if e.pattern.method == http.MethodGet {
		return leveret.Errorf(leveret.InvalidArgument, "%s has no body; the fields of the payload are parameters", r.Method)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, leveret.InvalidArgument, "the body must not be encoded or compressed")
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return refuse(http.StatusUnsupportedMediaType, leveret.InvalidArgument, "the body must have the Content-Type %s, in UTF-8", contentTypeJSON)
	}
	return nil
}

// isJSON reports whether a media type is application/json, or one that ends in +json, in UTF-8.
func isJSON(contentType string) bool {
	if contentType == contentTypeJSON {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	utf8 := params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8")
	return err == nil && utf8 && (kind == contentTypeJSON || strings.HasSuffix(kind, "+json"))
}

// accepts reports whether a client takes JSON. One that does not say, or says what cannot be read, does.
func accepts(accept []string) bool {
	if len(accept) == 1 && accept[0] == contentTypeJSON {
		return true
	}
	named := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		if kind == "*/*" || kind == "application/*" || isJSON(kind) {
			return true
		}
		named = true
	}
	return !named
}

// payload returns the payload of a request: its body as it is, unless there are parameters.
func (e *endpoint) payload(r *http.Request, body []byte) ([]byte, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // a byte order mark
	if r.URL.RawQuery != "" || len(e.pattern.params()) > 0 {
		given, err := readParameters(e.pattern, e.fields, r.PathValue, r.URL.RawQuery)
		if err != nil {
			return nil, err
		}
		if len(given.given) > 0 {
			if body, err = given.fill(body); err != nil {
				return nil, err
			}
		}
	}
	if len(body) == 0 && e.empty {
		body = []byte("{}")
	}
	strict := e.server.config.Strict
	if strict && !e.codec.own() {
		strict = false
		if err := e.checkFields(body); err != nil {
			return nil, err
		}
	}
	return e.codec.encode(body, strict)
}

// checkFields refuses fields that the payload does not have. All else that is wrong with a body is found later, as over
// other transports.
func (e *endpoint) checkFields(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	d.UseNumber() // or one that is too large for float64 ends the search
	err := d.Decode(reflect.New(e.spec.Payload).Interface())
	if err == nil {
		return nil
	}
	quoted, unknown := strings.CutPrefix(err.Error(), "json: unknown field ") // encoding/json has no type for it
	if !unknown {
		return nil
	}
	return violation(strings.Trim(quoted[:min(len(quoted), maxName)], `"`), "is no field of the payload")
}

// answer writes the reply, or the error, and returns why it could not.
func (e *endpoint) answer(ctx context.Context, w http.ResponseWriter, m *leveret.Message, err error) error {
	log := e.server.config.Logger
	if err != nil {
		if Status(err) >= http.StatusInternalServerError {
			log.WarnContext(ctx, "request answered with an error", "contract", e.spec.Name, "message_id", m.ID,
				"error", cut(err.Error(), maxLogged), "code", leveret.CodeOf(err))
		}
		return WriteProblem(w, err)
	}
	if e.location != nil {
		location, err := e.locate(m.Reply)
		if err != nil { // the request was handled all the same
			log.WarnContext(ctx, "answered without a location", "contract", e.spec.Name, "message_id", m.ID, "error", cut(err.Error(), maxLogged))
		} else {
			w.Header().Set("Location", location)
		}
	}
	reply, err := m.ReplyJSON()
	if err != nil {
		return WriteProblem(w, leveret.Errorf(leveret.Internal, "%w: the reply: %w", leveret.ErrOutcomeUnknown, err))
	}
	return write(w, e.route.Status, contentTypeJSON, reply)
}

// locate fills the location from a reply.
func (e *endpoint) locate(reply []byte) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(reply, &members); err != nil {
		return "", fmt.Errorf("the reply is no object: %w", err)
	}
	return e.location.fill(func(param string) (string, error) { return inText(members[param]) })
}

// inText returns a JSON string, number or boolean as text; of null and of what is missing, nothing.
func inText(raw json.RawMessage) (text string, err error) {
	if len(raw) > 0 && raw[0] == '"' {
		err = json.Unmarshal(raw, &text)
		return text, err
	}
	if text = string(raw); text == "null" {
		return "", nil
	}
	return text, nil
}
