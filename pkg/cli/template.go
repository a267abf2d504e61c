package cli

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// templateHelp explains placeholders in the help of send and publish.
const templateHelp = `Placeholders in the payload make each message different:

  {{uuid}}          a new UUIDv7; put it in quotes, since it is a string
  {{n}}             the number of the message: 1, 2, 3, …
  {{random 1 100}}  a random integer from 1 to 100
  {{now}}           the time in RFC 3339; put it in quotes

With --literal, {{ is sent unchanged.`

// A template is a payload with placeholders.
type template struct {
	parts []func(b *strings.Builder, n int)
}

var placeholder = regexp.MustCompile(`\{\{\s*([a-zA-Z_]+)((?:\s+-?[0-9]+)*)\s*\}\}`)

// parseTemplate fails if a placeholder does not exist.
func parseTemplate(text string, literal bool) (*template, error) {
	t := &template{}
	constant := func(s string) {
		if s != "" {
			t.parts = append(t.parts, func(b *strings.Builder, _ int) { b.WriteString(s) })
		}
	}
	if literal {
		constant(text)
		return t, nil
	}
	last := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		constant(text[last:at[0]])
		last = at[1]
		part, err := parsePlaceholder(text[at[2]:at[3]], strings.Fields(text[at[4]:at[5]]))
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part)
	}
	constant(text[last:])
	return t, nil
}

func parsePlaceholder(name string, args []string) (func(b *strings.Builder, n int), error) {
	switch {
	case name == "uuid" && len(args) == 0:
		return func(b *strings.Builder, _ int) { b.WriteString(uuid.Must(uuid.NewV7()).String()) }, nil
	case name == "n" && len(args) == 0:
		return func(b *strings.Builder, n int) { b.WriteString(strconv.Itoa(n)) }, nil
	case name == "now" && len(args) == 0:
		return func(b *strings.Builder, _ int) { b.WriteString(time.Now().Format(time.RFC3339Nano)) }, nil
	case name == "random" && len(args) == 2:
		low, err1 := strconv.ParseInt(args[0], 10, 64)
		high, err2 := strconv.ParseInt(args[1], 10, 64)
		if err1 != nil || err2 != nil || low > high || high-low < 0 || high-low+1 <= 0 {
			return nil, usage("", "{{random %s %s}} needs two integers, the smaller first", args[0], args[1])
		}
		return func(b *strings.Builder, _ int) {
			b.WriteString(strconv.FormatInt(low+rand.Int64N(high-low+1), 10))
		}, nil
	default:
		given := strings.Join(append([]string{name}, args...), " ")
		return nil, usage("use one of these, or --literal to send {{ unchanged",
			"there is no placeholder {{%s}}, only %s", given, "{{uuid}}, {{n}}, {{random LOW HIGH}}, {{now}}")
	}
}

// render returns the payload of the n-th message.
func (t *template) render(n int) []byte {
	var b strings.Builder
	for _, part := range t.parts {
		part(&b, n)
	}
	return []byte(b.String())
}

func describeSource(path string) string {
	if path == "-" {
		return "standard input"
	}
	return fmt.Sprintf("the file %s", path)
}
