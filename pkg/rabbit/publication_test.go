package rabbit

import (
	"math"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestPublicationsThatWouldBreakTheChannel(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	for name, m := range map[string]*Publication{
		"exchange":              {Exchange: long},
		"routing key":           {RoutingKey: long},
		"message id":            {Publishing: Publishing{MessageId: long}},
		"correlation id":        {Publishing: Publishing{CorrelationId: long}},
		"reply-to":              {Publishing: Publishing{ReplyTo: long}},
		"type":                  {Publishing: Publishing{Type: long}},
		"app id":                {Publishing: Publishing{AppId: long}},
		"user id":               {Publishing: Publishing{UserId: long}},
		"content type":          {Publishing: Publishing{ContentType: long}},
		"content encoding":      {Publishing: Publishing{ContentEncoding: long}},
		"expiration":            {Publishing: Publishing{Expiration: long}},
		"header":                {Publishing: Publishing{Headers: Table{long: 1}}},
		"name of a header":      {Publishing: Publishing{Headers: Table{"a": []any{Table{"b": Table{long: 1}}}}}},
		"struct":                {Publishing: Publishing{Headers: Table{"a": Table{"b": []any{struct{}{}}}}}},
		"map":                   {Publishing: Publishing{Headers: Table{"a": map[string]any{}}}},
		"int64":                 {Publishing: Publishing{Headers: Table{"a": 1 << 40}}},
		"NaN":                   {Publishing: Publishing{Headers: Table{"a": Table{"b": []any{math.NaN()}}}}},
		"+Inf":                  {Publishing: Publishing{Headers: Table{"a": math.Inf(1)}}},
		"-Inf":                  {Publishing: Publishing{Headers: Table{"a": float32(math.Inf(-1))}}},
		`"-1"`:                  {Publishing: Publishing{Expiration: "-1"}},
		`"soon"`:                {Publishing: Publishing{Expiration: "soon"}},
		`"1.5"`:                 {Publishing: Publishing{Expiration: "1.5"}},
		`"315360000001"`:        {Publishing: Publishing{Expiration: "315360000001"}},
		"delivery mode":         {Publishing: Publishing{DeliveryMode: 3}},
		`"CC"`:                  {Publishing: Publishing{Headers: Table{"CC": "q"}}},
		`"BCC"`:                 {Publishing: Publishing{Headers: Table{"BCC": nil}}},
		"array of routing keys": {Publishing: Publishing{Headers: Table{"CC": []any{"q", int64(1)}}}},
		"nests deeper":          {Publishing: Publishing{Headers: nest(33)}},
		"8192 entries":          {Publishing: Publishing{Headers: Table{"a": make([]any, 8193)}}},
	} {
		err := m.check(1)
		require.ErrorIs(t, err, ErrInvalid, name)
		require.ErrorContains(t, err, name)
		require.NotErrorIs(t, err, ErrTooLarge)
	}
	err := (&Publication{Publishing: Publishing{Headers: Table{"rate": Table{"a": math.NaN()}}}}).check(1)
	require.ErrorContains(t, err, `header "a" is NaN`, "the header is named")
	for _, fine := range []string{"", "0", "+5", "05", "315360000000"} {
		require.NoError(t, (&Publication{Publishing: Publishing{Expiration: fine, DeliveryMode: 2}}).check(1))
	}
	require.NoError(t, (&Publication{Publishing: Publishing{Headers: nest(32)}}).check(1))
	require.NoError(t, (&Publication{Publishing: Publishing{Headers: Table{"CC": []any{"q"}, "a": make([]any, 8192)}}}).check(1))
	err = (&Publication{Publishing: Publishing{Body: make([]byte, 2)}}).check(1)
	require.ErrorIs(t, err, ErrTooLarge)
	fine := Table{
		"nil": nil, "bool": true, "byte": byte(1), "int8": int8(1), "int": 1 << 30, "int16": int16(1), "int32": int32(1), "int64": int64(1 << 40),
		"uint16": uint16(1), "uint32": uint32(1), "float32": float32(1), "float64": 1.0, "string": "s", "bytes": []byte("b"),
		"decimal": amqp.Decimal{}, "time": time.Now(), "list": []any{1, "a", Table{"x": 1}}, "table": Table{"y": []any{}},
	}
	require.NoError(t, (&Publication{Publishing: Publishing{Headers: fine}}).check(0))
	require.NoError(t, fine.Validate(), "the driver agrees")
}

// nest returns headers that nest that deep, tables and arrays by turns.
func nest(depth int) Table {
	var inner any = true
	for i := range depth {
		if i%2 == 0 {
			inner = Table{"a": inner}
		} else {
			inner = []any{inner}
		}
	}
	return Table{"a": inner}
}

func TestTableSize(t *testing.T) {
	t.Parallel()
	const entry = 1 + 1 // a name of one letter
	for want, table := range map[int]Table{
		4:                                     nil,
		4 + entry + 5 + 3:                     {"a": "abc"},
		4 + entry + 5 + 2:                     {"a": []byte("ab")},
		4 + entry + 9:                         {"a": int64(1)},
		4 + entry + 1 + 4 + entry + 9:         {"a": Table{"b": 1.0}},
		4 + entry + 5 + 9 + 5 + 1:             {"a": []any{time.Now(), "x"}},
		4 + 2*(entry+5+100):                   {"a": strings.Repeat("x", 100), "b": strings.Repeat("x", 100)},
		4 + entry + 5 + 1 + 4 + 2*9 + 2*entry: {"a": []any{Table{"b": 1.0, "c": int64(2)}}},
	} {
		require.Equal(t, want, TableSize(table), "%v", table)
	}
}

// A return belongs to the oldest publish that looks like it.
func TestReturnsFindTheirPublishes(t *testing.T) {
	t.Parallel()
	c := &confirmChannel{pending: map[uint64]*flight{}}
	fly := func(number uint64, id, body string) *flight {
		f := &flight{
			Publication: &Publication{Exchange: "e", RoutingKey: "k", Mandatory: true, Publishing: Publishing{MessageId: id, Body: []byte(body)}},
			number:      number,
		}
		c.pending[number] = f
		return f
	}
	back := func(id, body string) {
		c.match(&amqp.Return{Exchange: "e", RoutingKey: "k", MessageId: id, Body: []byte(body), ReplyCode: amqp.NoRoute})
	}
	one, two, twin := fly(1, "1", ""), fly(2, "2", ""), fly(3, "2", "")
	red, blue := fly(4, "", "red"), fly(5, "", "blue")
	other := fly(6, "6", "")
	other.Exchange = "another"

	back("2", "")
	require.Nil(t, c.settle(one))
	require.NotNil(t, c.settle(two), "the older of two that look alike")
	require.Nil(t, c.settle(twin))
	back("", "blue")
	require.Nil(t, c.settle(red), "no ids, but different bodies")
	require.NotNil(t, c.settle(blue))
	back("6", "")
	require.Nil(t, c.settle(other))
	back("unknown", "")
	require.Nil(t, c.settle(fly(7, "7", "")))
	require.Empty(t, c.pending)
}

func TestExceptionsFindTheirPublishes(t *testing.T) {
	t.Parallel()
	m := &Publication{Exchange: "commands", RoutingKey: "order.place", Publishing: Publishing{Body: make([]byte, 20)}}
	for text, want := range map[string]struct {
		code int
		err  error
	}{
		"NOT_FOUND - no exchange 'commands' in vhost '/'":                                                               {404, ErrUnroutable},
		"NOT_FOUND - no exchange 'commands2' in vhost '/'":                                                              {404, nil},
		"ACCESS_REFUSED - write access to exchange 'commands' in vhost '/' refused for user 'x'":                        {403, ErrRefused},
		"ACCESS_REFUSED - access to exchange 'commands' in vhost '/' refused for user 'x'":                              {403, ErrRefused},
		"ACCESS_REFUSED - access to exchange 'events' in vhost '/' refused for user 'commands'":                         {403, nil},
		"ACCESS_REFUSED - write access to topic 'order.place' in exchange 'commands' in vhost '/' refused for user 'x'": {403, ErrRefused},
		"ACCESS_REFUSED - write access to topic 'order.paid' in exchange 'commands' in vhost '/' refused for user 'x'":  {403, nil},
		"ACCESS_REFUSED - cannot publish to internal exchange 'commands' in vhost '/'":                                  {403, ErrRefused},
		"PRECONDITION_FAILED - message size 20 is larger than configured max size 10":                                   {406, ErrTooLarge},
		"PRECONDITION_FAILED - message size 120 is larger than configured max size 10":                                  {406, nil},
		"PRECONDITION_FAILED - invalid expiration 'soon': {leftover_string,<<\"soon\">>}":                               {406, nil},
	} {
		err := exception(&amqp.Error{Code: want.code, Reason: text, Server: true, Recover: true}, m)
		require.ErrorIs(t, err, want.err, text)
	}
	require.NoError(t, exception(nil, m))
	toQueue := &Publication{RoutingKey: "q"}
	require.ErrorIs(t, exception(&amqp.Error{Code: 403, Reason: "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'x'"}, toQueue), ErrRefused)
}
