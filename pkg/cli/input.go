package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// payloadOptions say where payloads come from.
type payloadOptions struct {
	arg     string
	given   bool // arg was given
	file    string
	lines   bool
	count   int
	literal bool
}

// jsonHelp says how payloads are given.
const jsonHelp = `Payload and reply are JSON here, even where the contract's messages are not: a text is a JSON string, bytes are one in
base64. The command "contracts show" says what travels.

`

// maxPayload is more than any broker accepts by default; a larger file was named by mistake.
const maxPayload = 64 << 20

func (o *payloadOptions) flags(cmd *cobra.Command, many bool) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "read the payload from a `file`, or - for standard input")
	o.count = 1
	if !many {
		return
	}
	f.BoolVar(&o.lines, "lines", false, "send each line of the file as a message; the default for .jsonl and .ndjson")
	f.IntVarP(&o.count, "count", "n", 1, "send this many messages, each with its own id")
	f.BoolVar(&o.literal, "literal", false, "send {{…}} in the payload literally, not as placeholders")
}

// take takes the payload from the command line.
func (o *payloadOptions) take(args []string) {
	if len(args) > 0 {
		o.arg, o.given = args[0], true
	}
	ext := o.file[strings.LastIndexByte(o.file, '.')+1:]
	o.lines = o.lines || ext == "jsonl" || ext == "ndjson"
}

// check refuses options that exclude each other. The next command is for a person who gave no payload.
func (o *payloadOptions) check(next string) error {
	switch {
	case !o.given && o.file == "":
		return usage(next, "the payload is missing: give it as JSON in single quotes, from a file with -f FILE, or from standard input with -f -")
	case o.given && o.file != "":
		return usage("", "there are two payloads: one on the command line, one from --file")
	case o.count < 1:
		return usage("", "--count is %d; it must be 1 or more", o.count)
	case o.lines && o.file == "":
		return usage("", "--lines needs --file")
	case o.lines && o.count != 1:
		return usage("", "--count and --lines exclude each other: each line is one message")
	}
	return nil
}

// total is the number of payloads; 0 if it is unknown before the end.
func (o *payloadOptions) total() int {
	if o.lines {
		return 0
	}
	return o.count
}

// payloads returns the payloads, numbered from 1, up to the first error.
func (o *payloadOptions) payloads(in io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if o.lines {
			o.eachLine(in, yield)
			return
		}
		text, err := o.read(in)
		if err != nil {
			yield(nil, err)
			return
		}
		t, err := parseTemplate(text, o.literal)
		if err != nil {
			yield(nil, err)
			return
		}
		for n := range o.count {
			if !yield(t.render(n+1), nil) {
				return
			}
		}
	}
}

func (o *payloadOptions) open(in io.Reader) (io.ReadCloser, error) {
	if o.file == "-" {
		return io.NopCloser(in), nil
	}
	f, err := os.Open(o.file)
	if err != nil {
		return nil, usage("", "%w", err)
	}
	return f, nil
}

func (o *payloadOptions) read(in io.Reader) (string, error) {
	if o.given {
		return o.arg, nil
	}
	r, err := o.open(in)
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", describeSource(o.file), err)
	case len(body) > maxPayload:
		return "", usage("--lines sends each line as a message", "%s is larger than %d MiB, too large for one message", describeSource(o.file), maxPayload>>20)
	}
	return string(body), nil
}

func (o *payloadOptions) eachLine(in io.Reader, yield func([]byte, error) bool) {
	r, err := o.open(in)
	if err != nil {
		yield(nil, err)
		return
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxPayload)
	n := 0
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		n++
		t, err := parseTemplate(string(line), o.literal)
		if err != nil {
			yield(nil, atLine(number, err))
			return
		}
		if !yield(t.render(n), nil) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		yield(nil, fmt.Errorf("read %s: %w", describeSource(o.file), err))
	}
}

func atLine(number int, err error) error { return fmt.Errorf("line %d: %w", number, err) }

// A checker checks payloads before they are sent.
type checker struct {
	app    *App
	spec   leveret.Spec
	schema *schema.Schema
	warned map[string]bool
}

func (a *App) checker(spec leveret.Spec) (*checker, error) {
	s, err := schema.Payload(spec)
	if err != nil {
		return nil, err
	}
	return &checker{app: a, spec: spec, schema: s, warned: map[string]bool{}}, nil
}

// check returns the payload as it travels; JSON without insignificant white space. It warns once about each field that the
// contract does not know.
func (c *checker) check(payload []byte) ([]byte, error) {
	unknown, err := c.schema.Check(payload)
	accepted := " (accepted anyway)" // not "sent": that may fail
	if err != nil {
		accepted = ""
	}
	for _, u := range unknown {
		if !c.warned[u.Path] {
			c.warned[u.Path] = true
			c.app.Warn("%s%s", u, accepted)
		}
	}
	if err != nil {
		next := fmt.Sprintf("%s contracts show %s", c.app.Name, c.spec.Name)
		if kind := c.spec.Payload.Kind(); c.spec.Codec != nil && kind == reflect.String && !json.Valid(payload) {
			next = "a text is given as a JSON string: '\"like this\"'; jq -Rs . makes one of a file"
		} else if first, _, several := bytes.Cut(bytes.TrimSpace(payload), []byte("\n")); several && json.Valid(first) {
			next = "--lines sends each line as a message"
		}
		return nil, &Error{Exit: ExitUsage, Err: fmt.Errorf("the payload does not fit %s: %w", c.spec.Name, err), Next: next}
	}
	body, err := c.schema.ToBody([]byte(compact(withoutMark(payload))))
	if err != nil {
		return nil, &Error{Exit: ExitUsage, Err: fmt.Errorf("the payload does not fit %s: %w", c.spec.Name, err)}
	}
	return body, nil
}

// withoutMark returns a text without the byte order mark that some editors and shells put in front of it.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// compact removes the white space from JSON.
func compact(text []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return string(text)
	}
	return b.String()
}

// parseHeaders reads -H name=value.
func parseHeaders(given []string) (map[string]string, error) {
	headers := map[string]string{}
	for _, h := range given {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, usage("", "--header is %q; it must be name=value", h)
		}
		if wire.Reserved(name) {
			return nil, usage("", "the header %q cannot be set: it is for Leveret or RabbitMQ to set", name)
		}
		headers[name] = value
	}
	return headers, nil
}

func headerOptions(headers map[string]string) []leveret.SendOption {
	var options []leveret.SendOption
	for name, value := range headers {
		options = append(options, leveret.Header(name, value))
	}
	return options
}
