package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// contractDetails is what `contracts show` prints.
type contractDetails struct {
	contractSummary
	Clients    []string `json:"clients"`
	Exchange   string   `json:"exchange"`
	RoutingKey string   `json:"routing_key"` // or the pattern that receivers bind
	KeyOfEach  bool     `json:"routing_key_from_payload,omitempty"`
	Type       string   `json:"type,omitempty"` // where it is not the name
	// Headers are those that the address sets.
	Headers map[string]string `json:"headers,omitempty"`
	Queues  []string          `json:"queues"`
	// SharedWith are the other contracts of these queues, and ToldBy is what tells the messages of this one: type, headers,
	// type_and_headers or routing_key.
	SharedWith  []string        `json:"shared_with,omitempty"`
	ToldBy      string          `json:"told_by,omitempty"`
	DeadLetters string          `json:"dead_letter_queue,omitempty"` // where it is somebody else's
	External    bool            `json:"external,omitempty"`
	Kept        *keptDetails    `json:"kept,omitempty"`
	Attempts    int             `json:"attempts,omitempty"`
	Delays      []string        `json:"delays,omitempty"`
	RetryOn     []string        `json:"retry_on,omitempty"`
	TimeoutMS   int64           `json:"timeout_ms,omitempty"`
	Idempotent  bool            `json:"idempotent,omitempty"`
	Schema      json.RawMessage `json:"schema"`
	ReplyShape  json.RawMessage `json:"reply_schema,omitempty"`
	Example     json.RawMessage `json:"example"`
	// ContentType is how payload and reply travel. Where it is not JSON, schemas and example are of the JSON that people write.
	ContentType string `json:"content_type"`

	spec     leveret.Spec
	sendable json.RawMessage // the example with placeholders instead of "[secret]"
}

// keptDetails is how an event is kept, and which services read it.
type keptDetails struct {
	Stream  string   `json:"stream"`
	Age     int64    `json:"age_s"`
	Bytes   int64    `json:"bytes"`
	Readers []string `json:"readers"`
}

type contractsShowOptions struct {
	name            string
	schema, example bool
	reveal          bool
}

func (a *App) contractsShowCommand() *cobra.Command {
	var o contractsShowOptions
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a contract: its route, retries, JSON Schema and an example payload",
		Example: fmt.Sprintf("  %[1]s contracts show %[2]s\n"+
			"  %[1]s contracts show %[2]s --example | %[1]s send %[2]s -f -", a.Name, a.some(leveret.KindCommand)),
		Args:              Arguments(1, 1),
		ValidArgsFunction: a.completeContract(0),
		RunE: func(_ *cobra.Command, args []string) error {
			o.name = args[0]
			return a.showContract(o)
		},
	}
	cmd.Flags().BoolVar(&o.schema, "schema", false, "print only the JSON Schema")
	cmd.Flags().BoolVar(&o.example, "example", false, "print only the example payload, with placeholders for secrets")
	revealFlag(cmd, &o.reveal)
	return cmd
}

func (a *App) showContract(o contractsShowOptions) error {
	if o.schema && o.example {
		return usage("", "--schema and --example exclude each other")
	}
	c, err := a.contract(o.name, 0)
	if err != nil {
		return err
	}
	shown, err := a.discretion("contracts show "+o.name, o.reveal)
	if err != nil {
		return err
	}
	d, err := a.details(c, shown)
	if err != nil {
		return err
	}
	if !o.schema {
		shown.log()
	}
	switch {
	case o.schema:
		return a.PrintJSON(d.Schema)
	case o.example:
		return a.PrintJSON(d.sendable)
	case a.Format() != FormatText:
		return a.PrintJSON(d)
	}
	return a.printDetails(d)
}

func (a *App) details(c leveret.Contract, shown *discretion) (*contractDetails, error) {
	spec := c.Spec()
	d := &contractDetails{
		contractSummary: a.summary(c),
		Clients:         names(a.Catalog.ServicesWith(c, spec.Kind.SenderRole())),
		Idempotent:      spec.Idempotent,
		TimeoutMS:       spec.Timeout.Milliseconds(),
		ContentType:     spec.ContentType(),
		spec:            spec,
	}
	exchange, routingKey := spec.Route(a.names())
	d.Exchange, d.RoutingKey, d.External = exchange.Name, routingKey, spec.Address != nil && spec.Address.External
	d.KeyOfEach = spec.RoutingKey != nil
	if spec.Address != nil {
		d.Headers = spec.Address.Headers
		if spec.Address.Type != spec.Name {
			d.Type = spec.Address.Type
		}
	}
	for _, q := range slices.Concat(a.workQueues(), a.processQueues()) {
		all := q.names()
		if !slices.Contains(all, spec.Name) {
			continue
		}
		d.Queues = append(d.Queues, q.name)
		if q.theirs {
			d.DeadLetters = q.deadLetters
		}
		if len(all) > 1 {
			d.ToldBy = toldBy(spec)
			d.SharedWith = append(d.SharedWith, slices.DeleteFunc(all, func(other string) bool { return other == spec.Name })...)
		}
	}
	if spec.Kind != leveret.KindRequest {
		d.Attempts = spec.Retry.Attempts
		for _, delay := range spec.Retry.Delays {
			d.Delays = append(d.Delays, short(delay))
		}
	}
	for _, code := range spec.RetryOn {
		d.RetryOn = append(d.RetryOn, code.String())
	}
	if k := spec.Kept; k != nil {
		d.Kept = &keptDetails{a.names().KeptStream(spec.Name), int64(k.Age / time.Second), k.Bytes, names(a.Catalog.ServicesWith(c, leveret.RoleReads))}
	}
	payload, err := schema.Payload(spec)
	if err != nil {
		return nil, err
	}
	d.Schema = payload.JSON()
	if err := d.exemplify(payload, shown); err != nil {
		return nil, err
	}
	if spec.Reply != nil {
		reply, err := schema.Reply(spec)
		if err != nil {
			return nil, err
		}
		d.ReplyShape = reply.JSON()
	}
	return d, nil
}

// toldBy returns what tells the messages of a contract from others in its queue.
func toldBy(spec leveret.Spec) string {
	switch a := spec.Address; {
	case a != nil && a.Type != "" && len(a.Headers) > 0:
		return "type_and_headers"
	case a != nil && a.Type != "":
		return "type"
	case a != nil && len(a.Headers) > 0:
		return "headers"
	default:
		return "routing_key"
	}
}

// exemplify makes the example, from that of the contract if there is one.
func (d *contractDetails) exemplify(s *schema.Schema, shown *discretion) error {
	example := s.Example()
	d.sendable = example
	if d.spec.Example != nil {
		var err error
		if example, err = d.exampleOf(s); err != nil {
			return fmt.Errorf("the example of %s: %w", d.Name, err)
		}
		d.sendable = s.Placeholders(example)
	}
	d.Example = s.Redact(example)
	if shown.reveal {
		d.Example = shown.show(s, example)
		d.sendable = d.Example
	}
	return nil
}

// exampleOf returns the contract's own example as JSON.
func (d *contractDetails) exampleOf(s *schema.Schema) ([]byte, error) {
	if d.spec.Codec == nil {
		return json.MarshalIndent(d.spec.Example, "", "  ")
	}
	pointer := reflect.New(d.spec.Payload)
	pointer.Elem().Set(reflect.ValueOf(d.spec.Example))
	body, err := d.spec.Encode(pointer.Interface())
	if err != nil {
		return nil, err
	}
	text, err := s.FromBody(body)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, text, "", "  ")
	return b.Bytes(), err
}

func (a *App) printDetails(d *contractDetails) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%s %s\n", a.out.Paint(term.Dim, fmt.Sprintf("%-12s", label)), fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s\n", a.out.Paint(term.Bold, d.Name))
	line("kind", "%s", d.Kind)
	line("owner", "%s", d.Owner)
	line(servedLabel(d.spec.Kind), "%s", list(d.Servers))
	line(madeLabel(d.spec.Kind), "%s", list(d.Clients))
	exchange := d.Exchange
	if exchange == "" {
		exchange = "(default)"
	}
	key := d.RoutingKey
	if d.KeyOfEach {
		key += " (each message's own is made from its payload)"
	}
	line("exchange", "%s, routing key %s", exchange, key)
	switch d.Type {
	case "":
	case leveret.NoType:
		line("type", "(none)")
	default:
		line("type", "%s", d.Type)
	}
	if len(d.Headers) > 0 {
		headers := map[string]any{}
		for name, value := range d.Headers {
			headers[name] = value
		}
		line("headers", "%s", pairs(headers))
	}
	line("queue", "%s", list(d.Queues))
	if d.ToldBy != "" {
		line("shared with", "%s; its messages are told by their %s", list(d.SharedWith), strings.ReplaceAll(d.ToldBy, "_", " "))
	}
	if d.DeadLetters != "" {
		line("dead letters", "rejected, to %s", d.DeadLetters)
	}
	if d.External {
		declared := "never declared here"
		if !d.spec.Address.Topology.Empty() {
			declared = "declared here in their form, as far as the address has it"
		}
		line("external", "yes: owned by someone else, %s", declared)
	}
	if k := d.Kept; k != nil {
		line("kept", "in the stream %s, for %s, up to %g MB", k.Stream, days(d.spec.Kept.Age), float64(k.Bytes)/1e6)
		line("read by", "%s", list(k.Readers))
	}
	a.printPolicy(line, d)
	payload := d.Payload
	if d.Reply != "" {
		payload += " -> " + d.Reply
	}
	line("payload", "%s", payload)
	if d.spec.Codec != nil {
		line("content type", "%s; people write and read it as JSON", d.ContentType)
	}
	fmt.Fprintf(&b, "\n%s\n%s\n", a.out.Paint(term.Dim, "JSON Schema"), d.Schema)
	if d.ReplyShape != nil {
		fmt.Fprintf(&b, "\n%s\n%s\n", a.out.Paint(term.Dim, "JSON Schema of the reply"), d.ReplyShape)
	}
	fmt.Fprintf(&b, "\n%s\n%s\n", a.out.Paint(term.Dim, "example"), d.Example)
	if _, err := a.IO.Out.Write([]byte(b.String())); err != nil {
		return err
	}
	a.Note("\n%s %s %s %s '%s'", a.err.Paint(term.Dim, "try:"), a.Name, verbs[d.spec.Kind], d.Name, compact(d.sendable))
	return nil
}

func (a *App) printPolicy(line func(label, format string, args ...any), d *contractDetails) {
	if d.spec.Kind == leveret.KindRequest {
		line("timeout", "%s", short(d.spec.Timeout))
		if d.Idempotent {
			line("idempotent", "yes: repeated after a lost connection")
		}
		return
	}
	line("retry", "%d attempts, with delays of %s", d.Attempts, strings.Join(d.Delays, ", "))
	if len(d.RetryOn) > 0 {
		line("also retry", "%s", strings.Join(d.RetryOn, ", "))
	}
}

func servedLabel(k leveret.Kind) string {
	return map[leveret.Kind]string{leveret.KindCommand: "handled by", leveret.KindEvent: "subscribers", leveret.KindRequest: "answered by"}[k]
}

func madeLabel(k leveret.Kind) string {
	return map[leveret.Kind]string{leveret.KindCommand: "sent by", leveret.KindEvent: "published by", leveret.KindRequest: "called by"}[k]
}

// list joins names for people.
func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}

// days writes a duration in whole days, if it has such.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day != 0 {
		return short(d)
	}
	return plural(int(d/day), "day")
}

// short writes a duration as people do: 10m, 2.1ms.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		text := strings.TrimSuffix(d.Round(time.Second).String(), "0s")
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(time.Microsecond).String()
	}
}
