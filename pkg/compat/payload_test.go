package compat_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// lockOf records a system whose only contract is given, served by the service x and sent by y.
func lockOf(tb testing.TB, c leveret.Contract) *compat.Lock {
	tb.Helper()
	role := map[leveret.Kind]func(...leveret.Contract) leveret.ServiceOption{
		leveret.KindCommand: leveret.Handles, leveret.KindEvent: leveret.Publishes, leveret.KindRequest: leveret.Answers,
	}
	catalog := leveret.NewCatalog(leveret.NewService("x", role[c.Spec().Kind](c)))
	require.NoError(tb, catalog.Err())
	lock, err := compat.Of(catalog)
	require.NoError(tb, err)
	return lock
}

// check compares two contracts, through a file.
func check(tb testing.TB, old, now leveret.Contract) []compat.Finding {
	tb.Helper()
	text, err := lockOf(tb, old).Encode()
	require.NoError(tb, err)
	released, err := compat.Read(text)
	require.NoError(tb, err)
	found, err := compat.Check(released, lockOf(tb, now))
	require.NoError(tb, err)
	return found
}

// line is what a test expects of a finding.
func line(f compat.Finding) string {
	return strings.TrimSpace(string(f.Severity) + " " + string(f.Side) + " " + f.Path + " " + f.Change)
}

// breaking returns the findings that break, or need care.
func breaking(found []compat.Finding) []compat.Finding {
	var some []compat.Finding
	for _, f := range found {
		if f.Severity != compat.Safe {
			some = append(some, f)
		}
	}
	return some
}

// verify checks counterexamples with the schemas of the Go types, as senders and receivers do.
func verify(tb testing.TB, old, now reflect.Type, found []compat.Finding) {
	tb.Helper()
	accepts := func(t reflect.Type, payload []byte) bool {
		s, err := schema.Of(t)
		require.NoError(tb, err)
		_, err = s.Check(payload)
		return err == nil
	}
	for _, f := range found {
		if f.Severity != compat.Breaks {
			continue
		}
		require.NotEmpty(tb, f.Counterexample, line(f))
		if string(f.Counterexample) == "null" { // the payload as a whole is never null
			continue
		}
		forward := f.Side == compat.Senders
		require.Equal(tb, forward, accepts(old, f.Counterexample), "%s: the last release: %s", line(f), f.Counterexample)
		require.Equal(tb, !forward, accepts(now, f.Counterexample), "%s: the new program: %s", line(f), f.Counterexample)
	}
}

type (
	empty struct{}
	named struct {
		Name string `json:"name"`
	}
	namedMaybe struct {
		Name string `json:"name,omitempty"`
	}
	namedNull struct {
		Name *string `json:"name"`
	}
	numbered struct {
		Name int `json:"name"`
	}
	renamed struct {
		Title string `json:"title"`
	}
	tree struct {
		Name string  `json:"name"`
		Left *tree   `json:"left"`
		More []*tree `json:"more,omitempty"`
	}
	treeWithNote struct {
		Name string          `json:"name"`
		Note string          `json:"note"`
		Left *treeWithNote   `json:"left"`
		More []*treeWithNote `json:"more,omitempty"`
	}
)

func TestPayloadChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		old, now leveret.Contract
		want     []string
	}{
		{"a required field is added", cmd[empty](), cmd[named](), []string{"breaks senders name required"}},
		{"an optional field is added", cmd[empty](), cmd[namedMaybe](), nil},
		{"a required field goes", cmd[named](), cmd[empty](), []string{"breaks receivers name required"}},
		{"an optional field goes", cmd[namedMaybe](), cmd[empty](), nil},
		{"a field becomes required", cmd[namedMaybe](), cmd[named](), []string{"breaks senders name required"}},
		{"a field becomes optional", cmd[named](), cmd[namedMaybe](), []string{"breaks receivers name required"}},
		{"a field may be null", cmd[named](), cmd[namedNull](), []string{"breaks receivers name null"}},
		{"a field may no longer be null", cmd[namedNull](), cmd[named](), []string{"breaks senders name null"}},
		{"a field is renamed", cmd[named](), cmd[renamed](), []string{
			"breaks senders title required", "breaks receivers name required", "careful  name removed",
		}},
		{"a field has another type", cmd[named](), cmd[numbered](), []string{"breaks senders name type", "breaks receivers name type"}},
		{"another Go type with the same JSON", cmd[named](), cmd[struct {
			Renamed string `json:"name"`
		}](), nil},
		{"int64 to int32", cmd[int64](), cmd[int32](), []string{"breaks senders  maximum", "breaks senders  minimum"}},
		{"int32 to int64", cmd[int32](), cmd[int64](), []string{"breaks receivers  maximum", "breaks receivers  minimum"}},
		{"int to uint", cmd[int](), cmd[uint](), []string{"breaks senders  minimum"}},
		{"int to float", cmd[int](), cmd[float64](), []string{"breaks receivers  type"}},
		{"float to int", cmd[float64](), cmd[int](), []string{"breaks senders  type"}},
		{"anything to a text", cmd[struct {
			A any `json:"a"`
		}](), cmd[struct {
			A string `json:"a"`
		}](), []string{"breaks senders a type"}},
		{"a text to anything", cmd[struct {
			A string `json:"a"`
		}](), cmd[struct {
			A any `json:"a"`
		}](), []string{"breaks receivers a type"}},
		{"a text to bytes", cmd[struct {
			A string `json:"a"`
		}](), cmd[struct {
			A []byte `json:"a"`
		}](), []string{"breaks senders a contentEncoding", "breaks receivers a null"}},
		{"a text to a time", cmd[string](), cmd[time.Time](), []string{"breaks senders  format"}},
		{"a UUID to a text", cmd[uuid.UUID](), cmd[string](), []string{"breaks receivers  format"}},
		{"a text to a secret", cmd[struct {
			A string `json:"a"`
		}](), cmd[struct {
			A leveret.Secret `json:"a"`
		}](), nil},
		{"one to a list", cmd[struct {
			A string `json:"a"`
		}](), cmd[struct {
			A []string `json:"a"`
		}](), []string{"breaks senders a type", "breaks receivers a type"}},
		{"a struct to a map", cmd[struct {
			A named `json:"a"`
		}](), cmd[struct {
			A map[string]string `json:"a"`
		}](), []string{"breaks receivers a null", "breaks receivers a.name required"}},
		{"an enum has one more", tag[string](`enum=A,enum=B`), tag[string](`enum=A,enum=B,enum=C`), []string{"breaks receivers a enum"}},
		{"an enum has one less", tag[string](`enum=A,enum=B`), tag[string](`enum=A`), []string{"breaks senders a enum"}},
		{"a text becomes an enum", tag[string](``), tag[string](`enum=A`), []string{"breaks senders a enum"}},
		{"an enum becomes a text", tag[string](`enum=A`), tag[string](``), []string{"breaks receivers a enum"}},
		{"an enum in another order", tag[string](`enum=A,enum=B`), tag[string](`enum=B,enum=A`), nil},
		{"a minimum rises", tag[int](`minimum=1`), tag[int](`minimum=5`), []string{"breaks senders a minimum"}},
		{"a minimum falls", tag[int](`minimum=5`), tag[int](`minimum=1`), []string{"breaks receivers a minimum"}},
		{"a maximum falls", tag[int](`maximum=100`), tag[int](`maximum=99`), []string{"breaks senders a maximum"}},
		{"a maximum goes", tag[int](`maximum=100`), tag[int](``), []string{"breaks receivers a maximum"}},
		{"an exclusive minimum", tag[float64](`minimum=0`), tag[float64](`exclusiveMinimum=0`), []string{"breaks senders a exclusiveMinimum"}},
		{"multiples", tag[int](`multipleOf=5`), tag[int](`multipleOf=10`), []string{"breaks senders a multipleOf"}},
		{"a text must be longer", tag[string](`minLength=1`), tag[string](`minLength=3`), []string{"breaks senders a minLength"}},
		{"a text must be shorter", tag[string](`maxLength=64`), tag[string](`maxLength=10`), []string{"breaks senders a maxLength"}},
		{"a text may be longer", tag[string](`maxLength=10`), tag[string](`maxLength=64`), []string{"breaks receivers a maxLength"}},
		{"a pattern is added", tag[string](``), tag[string](`pattern=^[a-z]+$`), []string{"breaks senders a pattern"}},
		{"a pattern allows more", tag[string](`pattern=^[a-z]+$`), tag[string](`pattern=^[a-z_]+$`), []string{"breaks receivers a pattern"}},
		{"a pattern is written otherwise", tag[string](`pattern=^[a-z]+$`), tag[string](`pattern=^[a-z][a-z]*$`), nil},
		{"one rare value", tag[string](`pattern=^[a-z]+$`), tag[string](`pattern=^([a-z]|[a-z][a-z]|[a-z]{4}[a-z]*)$`), []string{"breaks senders a pattern"}},
		{"a pattern that is too rich", tag[string](`pattern=^(?i)ab$`), tag[string](`pattern=^(?i:ab)$`), []string{"careful senders a pattern", "careful receivers a pattern"}},
		{"a format is added", tag[string](``), tag[string](`format=uuid`), []string{"breaks senders a format"}},
		{"a format goes", tag[string](`format=uuid`), tag[string](``), []string{"breaks receivers a format"}},
		{"another format", tag[string](`format=date`), tag[string](`format=date-time`), []string{"breaks senders a format", "breaks receivers a format"}},
		{"more items are needed", tag[[]int](`minItems=1`), tag[[]int](`minItems=2`), []string{"breaks senders a minItems"}},
		{"fewer items are allowed", tag[[]int](`maxItems=10`), tag[[]int](`maxItems=9`), []string{"breaks senders a maxItems"}},
		{"items must be unique", tag[[]int](``), tag[[]int](`uniqueItems=true`), []string{"breaks senders a uniqueItems"}},
		{"an array of another length", cmd[struct {
			A [2]int `json:"a"`
		}](), cmd[struct {
			A [3]int `json:"a"`
		}](), []string{"breaks senders a minItems", "breaks receivers a maxItems"}},
		{"the items of a list change", tag[[]named](``), tag[[]numbered](``), []string{"breaks senders a[].name type", "breaks receivers a[].name type"}},
		{"the values of a map change", tag[map[string]named](``), tag[map[string]namedNull](``), []string{"breaks receivers a.*.name null"}},
		{"a map by texts becomes one by numbers", tag[map[string]int](``), tag[map[int]int](``), []string{"breaks senders a.* propertyNames"}},
		{"within a type that holds itself", cmd[tree](), cmd[treeWithNote](), []string{"breaks senders note required"}},
		{"a number in quotes", cmd[struct {
			A int `json:"a"`
		}](), cmd[struct {
			A int `json:"a,string"`
		}](), []string{"breaks senders a type", "breaks receivers a type"}},
		{"two changes of one field", tag[int](`minimum=1,maximum=10`), tag[int](`minimum=2,maximum=9`), []string{"breaks senders a maximum", "breaks senders a minimum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, check(t, c.old, c.old), "no change, no finding")
			found := breaking(check(t, c.old, c.now))
			var lines []string
			for _, f := range found {
				lines = append(lines, line(f))
			}
			require.Equal(t, c.want, lines)
			verify(t, c.old.Spec().Payload, c.now.Spec().Payload, found)
		})
	}
}

func cmd[T any]() leveret.Contract { return leveret.NewCommand[T]("x.do") }

// tag is a command with one field that has a jsonschema tag.
func tag[T any](tag string) leveret.Contract { return tagged{cmd[int](), structOf[T](tag)} }

func structOf[T any](tag string) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{
		Name: "A", Type: reflect.TypeFor[T](), Tag: reflect.StructTag(`json:"a" jsonschema:"` + tag + `"`),
	}})
}

// tagged is a contract whose payload has a type that is made at run time.
type tagged struct {
	leveret.Contract
	payload reflect.Type
}

func (t tagged) Spec() leveret.Spec {
	spec := t.Contract.Spec()
	spec.Payload = t.payload
	return spec
}

// The reply of a request goes the other way: what breaks, and which order is safe.
func TestReplyChanges(t *testing.T) {
	t.Parallel()
	found := check(t, leveret.NewRequest[empty, named]("x.ask"), leveret.NewRequest[empty, namedNull]("x.ask"))
	require.Len(t, found, 1)
	require.Equal(t, "breaks callers name null", line(found[0]))
	require.Equal(t, "reply", found[0].Part)
	require.Equal(t, compat.CallersFirst, found[0].Upgrade)
	require.JSONEq(t, `{"name": null}`, string(found[0].Counterexample))

	found = check(t, leveret.NewRequest[empty, namedMaybe]("x.ask"), leveret.NewRequest[empty, named]("x.ask"))
	require.Len(t, found, 1)
	require.Equal(t, compat.ServersFirst, found[0].Upgrade)

	found = check(t, leveret.NewRequest[named, empty]("x.ask"), leveret.NewRequest[namedMaybe, empty]("x.ask"))
	require.Equal(t, "breaks servers name required", line(found[0]))
	require.Equal(t, compat.ServersFirst, found[0].Upgrade)

	found = check(t, leveret.NewRequest[namedMaybe, empty]("x.ask"), leveret.NewRequest[named, empty]("x.ask"))
	require.Equal(t, "breaks callers name required", line(found[0]))
	require.Equal(t, compat.CallersFirst, found[0].Upgrade)
	require.Equal(t, map[string]compat.Upgrade{"x.ask": compat.CallersFirst}, compat.Orders(found))
}

func TestMessages(t *testing.T) {
	t.Parallel()
	found := check(t, tag[string](`enum=A,enum=B`), tag[string](`enum=A,enum=C`))
	require.Len(t, found, 2)
	require.Equal(t, `can no longer be "B"`, found[0].Message)
	require.JSONEq(t, `{"a": "B"}`, string(found[0].Counterexample))
	require.Equal(t, `can be "C" now`, found[1].Message)
	require.Equal(t, map[string]compat.Upgrade{"x.do": compat.NoOrder}, compat.Orders(found))
	text, err := json.Marshal(found[1])
	require.NoError(t, err)
	require.JSONEq(t, `{"severity":"breaks","contract":"x.do","part":"payload","path":"a","change":"enum","message":"can be \"C\" now",
		"side":"receivers","affected":"receivers that are not upgraded yet","counterexample":{"a":"C"},"do":"upgrade receivers first",
		"upgrade":"receivers first"}`, string(text))
}

// Null may be one of several types, or an alternative.
func TestNullInAList(t *testing.T) {
	t.Parallel()
	list := `{"type":"object","properties":{"a":{"type":["array","null"],"items":{"type":"integer"}}},"required":["a"]}`
	alternative := `{"type":"object","properties":{"a":{"anyOf":[{"type":"array","items":{"type":"integer"}},{"type":"null"}]}},"required":["a"]}`
	never := `{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer","minimum":1}}},"required":["a"]}`
	for _, c := range []struct {
		old, now string
		want     []string
	}{
		{list, alternative, nil},
		{alternative, list, nil},
		{list, never, []string{"breaks senders a null", "breaks senders a[] minimum"}},
		{never, alternative, []string{"breaks receivers a null", "breaks receivers a[] minimum"}},
	} {
		found, err := compat.Check(lockWith([]byte(c.old)), lockWith([]byte(c.now)))
		require.NoError(t, err)
		var lines []string
		for _, f := range found {
			lines = append(lines, line(f))
			require.NotNil(t, f.Counterexample)
		}
		require.Equal(t, c.want, lines)
	}
}

// What a format accepts in upper case, a pattern in lower case refuses.
func TestPatternBesideAFormat(t *testing.T) {
	t.Parallel()
	of := func(field string) *compat.Lock {
		return lockWith([]byte(`{"type":"object","properties":{"a":` + field + `},"required":["a"]}`))
	}
	uuids := `{"type":"string","format":"uuid"}`
	lower := `{"type":"string","format":"uuid","pattern":"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}`
	found, err := compat.Check(of(uuids), of(lower))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "breaks senders a pattern", line(found[0]))
	require.JSONEq(t, `{"a":"01938C3E-8A41-7000-8000-000000000001"}`, string(found[0].Counterexample))
	for _, format := range []string{"email", "uri", "hostname", "ipv6"} {
		found, err = compat.Check(of(`{"type":"string","format":"`+format+`"}`), of(`{"type":"string","format":"`+format+`","pattern":"^[^A-Z]*$"}`))
		require.NoError(t, err)
		require.Len(t, found, 1, format)
		require.Equal(t, "breaks senders a pattern", line(found[0]), format)
	}
}
