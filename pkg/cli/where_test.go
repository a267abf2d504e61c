package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

func TestWhere(t *testing.T) {
	t.Parallel()
	l := &deadletter.Letter{
		ID: "id-1", Code: "not_found", Reason: "no_such_item", Error: "there is no item 7", Contract: "inventory.reserve", Attempts: 5, Replayed: 1,
		FailedAt: time.Now().Add(-time.Hour), Service: "inventory", Host: "here/1",
		Delivery: rabbit.Delivery{Body: []byte(`{"total":{"amount":250},"lines":[{"sku":"a"}]}`), Headers: rabbit.Table{"mine": "x", "n": int32(3)}},
	}
	for text, want := range map[string]bool{
		"":                    true,
		" ":                   true,
		`code == "not_found"`: true,
		`code != "not_found"`: false,
		`reason startsWith "no_" and error contains "item"`: true,
		`attempts > 4 && replayed == 1`:                     true,
		`age > duration("30m")`:                             true,
		`age < duration("30m")`:                             false,
		`payload.total.amount > 100`:                        true,
		`payload.lines[0].sku == "a"`:                       true,
		`any(payload.lines, .sku == "b")`:                   false,
		`contract == "inventory.reserve"`:                   true,
		`id in ["id-1", "id-2"]`:                            true,
		`headers["mine"] == "x" and headers.n == 3`:         true,
		`service == "inventory" && host matches "^here/"`:   true,
		`headers.none == nil`:                               true,
	} {
		w, err := parseWhere(text, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err, text)
		require.Equal(t, want, w.picks(l), text)
		if w != nil {
			require.NoError(t, w.first, text)
		}
	}
	for _, wrong := range []string{"cod == 1", "attempts", "code ==", "attempts > \"a\"", "code == 1", "payload.", `age > "1h"`, "(", "1 +"} {
		_, err := parseWhere(wrong, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.Error(t, err, wrong)
		require.Equal(t, ExitUsage, exitOf(err), wrong)
		require.ErrorContains(t, err, "--where")
	}
}

// What the expression cannot be asked of is not picked: a replay must not take it by mistake.
func TestWhereOfAnotherPayload(t *testing.T) {
	t.Parallel()
	w, err := parseWhere("payload.n > 1", &discretion{app: &App{Catalog: leveret.NewCatalog()}})
	require.NoError(t, err)
	for _, body := range []string{"", "no json", "[]", `{"n":"text"}`, "null", `{"n":2} {}`, "\xff"} {
		require.False(t, w.picks(&deadletter.Letter{Delivery: rabbit.Delivery{Body: []byte(body)}}), body)
	}
	require.Equal(t, 7, w.failed)
	require.Error(t, w.first)
	require.True(t, w.picks(&deadletter.Letter{Delivery: rabbit.Delivery{Body: []byte(`{"n":2}`)}}))
}

// Numbers of any size are compared and computed with by all their digits.
func TestWhereIsExact(t *testing.T) {
	t.Parallel()
	l := &deadletter.Letter{
		Attempts: 5, FailedAt: time.Now().Add(-time.Hour),
		Delivery: rabbit.Delivery{
			Body: []byte("\ufeff" + `{"id":1541815603606036481,"ids":[1541815603606036480,1541815603606036481],"max":18446744073709551615,"min":-9223372036854775808,` +
				`"price":1.10,"one":1.0,"huge":1e400,"fine":0.12345678901234567890,"none":null,"text":"1541815603606036481","object":{"n":9007199254740993}}`),
			Headers: rabbit.Table{"n": int64(1541815603606036481), "half": 0.5},
		},
	}
	for text, want := range map[string]bool{
		`payload.id == 1541815603606036481`:                         true,
		`payload.id == 1541815603606036480`:                         false,
		`payload.id == 1541815603606036482`:                         false,
		`1541815603606036481 == payload.id`:                         true,
		`payload.id == 1541815603606036481.0`:                       true,
		`payload.id == 1541815603606036480.5`:                       false,
		`payload.id != 1541815603606036480`:                         true,
		`payload.id > 1541815603606036480`:                          true,
		`payload.id >= 1541815603606036482`:                         false,
		`payload.id < 1541815603606036482`:                          true,
		`payload.id <= 1541815603606036480`:                         false,
		`payload.id in [1541815603606036480]`:                       false,
		`payload.id in [1541815603606036480, 1541815603606036481]`:  true,
		`payload.id not in [1541815603606036480]`:                   true,
		`payload.id in payload.ids`:                                 true,
		`1541815603606036482 in payload.ids`:                        false,
		`any(payload.ids, # == 1541815603606036480)`:                true,
		`any(payload.ids, # == 1541815603606036482)`:                false,
		`payload.ids == [1541815603606036480, 1541815603606036481]`: true,
		`payload.ids == [1541815603606036480, 1541815603606036480]`: false,
		`payload.object == {"n": 9007199254740993}`:                 true,
		`payload.object == {"n": 9007199254740992}`:                 false,
		`payload.object == {"n": 9007199254740993, "m": 1}`:         false,
		`payload.max == 18446744073709551615`:                       true,
		`payload.max == 18446744073709551614`:                       false,
		`payload.max == -1`:                                         false,
		`payload.max > 9223372036854775807`:                         true,
		`payload.max == 18_446_744_073_709_551_615`:                 true,
		`-payload.max == -18446744073709551615`:                     true,
		`payload.max - 1 == 18446744073709551614`:                   true,
		`payload.max + 1 == 18446744073709551616`:                   true,
		`payload.max * 2 == 36893488147419103230`:                   true,
		`payload.max % 10 == 5`:                                     true,
		`payload.max / 5 > 3689348814741910322`:                     true,
		`payload.min == -9223372036854775808`:                       true,
		`payload.min - 1 == -9223372036854775809`:                   true,
		`payload.id * 10 == 15418156036060364810`:                   true,
		`payload.id + attempts == 1541815603606036486`:              true,
		`attempts < payload.max`:                                    true,
		`attempts < 18446744073709551615`:                           true,
		`payload.price == 1.1`:                                      true,
		`payload.price == 1.10`:                                     true,
		`payload.price + 2.2 == 3.3`:                                true,
		`payload.price * 3 == 3.3`:                                  true,
		`payload.one == 1`:                                          true,
		`payload.huge == 1e400`:                                     true,
		`payload.huge == 1e401`:                                     false,
		`payload.huge > 1e308`:                                      true,
		`payload.fine == 0.12345678901234567890`:                    true,
		`payload.fine == 0.12345678901234567891`:                    false,
		`payload.none == nil`:                                       true,
		`payload.text == "1541815603606036481"`:                     true,
		`payload.text == 1541815603606036481`:                       false,
		`string(payload.max) == "18446744073709551615"`:             true,
		`payload.text + "0" == "15418156036060364810"`:              true,
		`"id" in payload`:                                           true,
		`"di" in payload`:                                           false,
		`headers.n == 1541815603606036481`:                          true,
		`headers.n == 1541815603606036480`:                          false,
		`headers.half < 0.6`:                                        true,
		`age > duration("10m") * 2`:                                 true,
		`let n = payload.id; n == 1541815603606036481`:              true,
		`(payload.one > 0 ? payload.id : 0) == 1541815603606036481`: true,
	} {
		w, err := parseWhere(text, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err, text)
		require.Equal(t, want, w.picks(l), text)
		require.NoError(t, w.first, text)
	}
	for text, want := range map[string]string{
		`payload.none > 1`:     "invalid operation: <nil> > int",
		`payload.huge + 1 > 1`: "too large or too small to compute with",
		`payload.id % 0 == 0`:  "division by zero",
		`payload.id / 0 == 0`:  "division by zero",
	} {
		w, err := parseWhere(text, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err, text)
		require.False(t, w.picks(l), text)
		require.ErrorContains(t, w.first, want, text)
	}
	_, err := parseWhere("payload.id == 18446744073709551615 and cod == 1", &discretion{app: &App{Catalog: leveret.NewCatalog()}})
	require.ErrorContains(t, err, "unknown name cod at line 1, column 40")
}

// Functions and operators are exact, or fail.
func TestWhereComputesExactly(t *testing.T) {
	t.Parallel()
	l := &deadletter.Letter{
		Attempts: 5, FailedAt: time.Now().Add(-time.Hour),
		Delivery: rabbit.Delivery{Body: []byte(`{"max":9223372036854775807,"min":-9223372036854775808,"big":18446744073709551615,"ids":[9223372036854775807,1],` +
			`"mixed":[9007199254740993,9007199254740992.0,9007199254740993.5,18446744073709551615],"prices":[0.1,0.2],"lines":[{"n":9223372036854775807,"q":2},` +
			`{"n":9007199254740993,"q":3}],"text":"{\"id\":1541815603606036481,\"f\":[1e400]}","words":["b","a","a"],"huge":1e400,"empty":[],"half":2.5,"zero":-0}`)},
	}
	for _, text := range []string{
		`sum(payload.ids) == 9223372036854775808`,
		`sum(payload.lines, .n) == 9232379236109516800`,
		`sum(payload.lines, .n * .q) == 18473765671473774593`,
		`payload.lines | sum(.q) == 5`,
		`sum([attempts, 9223372036854775807]) == 9223372036854775812`,
		`sum(payload.prices) == 0.3`,
		`sum(payload.empty) == 0`,
		`reduce(payload.ids, #acc + #) == 9223372036854775808`,
		`mean(payload.ids) == 4611686018427387904`,
		`mean(payload.max, payload.max - 1) == 9223372036854775806.5`,
		`mean([1, 2, 2]) > 1.66 && mean(payload.empty) == 0`,
		`median(payload.ids) == 4611686018427387904`,
		`median(payload.mixed[:3]) == 9007199254740993`,
		`max(payload.mixed) == 18446744073709551615`,
		`min(payload.mixed) == 9007199254740992`,
		`max(payload.mixed[:2]) == 9007199254740993`,
		`max(payload.huge, 1) == 1e400`,
		`max(age, duration("1m")) > duration("59m")`,
		`min(1, [2, 3]) == 1`,
		`abs(payload.min) == 9223372036854775808`,
		`abs(-payload.huge) == 1e400`,
		`-payload.min == 9223372036854775808`,
		`-attempts == -5`,
		`payload.zero == 0 && -payload.zero == 0`,
		`floor(payload.max) == 9223372036854775807`,
		`ceil(payload.big) == 18446744073709551615`,
		`round(payload.huge) == 1e400`,
		`floor(payload.half) == 2 && ceil(payload.half) == 3 && round(payload.half) == 3 && int(payload.half) == 2`,
		`floor(-payload.half) == -3 && ceil(-payload.half) == -2 && round(-payload.half) == -3 && int(-payload.half) == -2`,
		`int(payload.big) == 18446744073709551615`,
		`int("18446744073709551615") == payload.big`,
		`float(payload.max) == 9223372036854775807`,
		`float("0.1") + 0.2 == 0.3`,
		`fromJSON(payload.text).id == 1541815603606036481`,
		`fromJSON(payload.text).f[0] == 1e400`,
		`toJSON(payload.big) == "18446744073709551615"`,
		`sort(payload.mixed)[0] == 9007199254740992 && sort(payload.mixed, "desc")[0] == payload.big`,
		`sort(payload.words)[0] == "a"`,
		`sortBy(payload.lines, .n)[0].q == 3 && sortBy(payload.lines, .n, "desc")[0].q == 2`,
		`len(uniq(payload.mixed)) == 4 && len(uniq(payload.words)) == 2`,
		`attempts * 9223372036854775807 == 46116860184273879035`,
		`attempts + 9223372036854775807 > 9223372036854775807`,
		`9223372036854775807 + 1 == 9223372036854775808`,
		`-9223372036854775808 - attempts < payload.min`,
		`attempts / 2 == 2.5`,
		`payload.max / 1 == 9223372036854775807`,
		`payload.max ** 2 == 85070591730234615847396907784232501249`,
		`2 ** 64 == 18446744073709551616 && 2 ^ -1 == 0.5 && (-1) ** 1000000001 == -1 && 0 ** 0 == 1`,
		`4 ** 0.5 == 2`,
		`age < duration("1h") * 2 && age + duration("1h") > duration("119m")`,
	} {
		w, err := parseWhere(text, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err, text)
		require.True(t, w.picks(l), "%s: %v", text, w.first)
	}
	for text, want := range map[string]string{
		`sum(payload.words) == 1`:                                      "sum is for numbers, not for a string",
		`sum(payload.lines) == 1`:                                      "sum is for numbers, not for an object",
		`abs(payload.words) == 1`:                                      "abs is for numbers, not for an array",
		`mean(payload.text) == 1`:                                      "mean is for numbers, not for a string",
		`int(payload.words[0]) == 1`:                                   "int is for numbers, not for a string",
		`floor(payload.none) == 1`:                                     "floor is for numbers, not for null",
		`payload.huge + payload.huge > 1`:                              "too large or too small to compute with",
		`sum([payload.huge]) > 1`:                                      "too large or too small to compute with",
		`payload.max ** payload.max > 1`:                               "too large or too small to compute with",
		`2 ** 1000000 > 1`:                                             "too large or too small to compute with",
		`0 ** -1 == 1`:                                                 "division by zero",
		`age > duration("24h") * 365 * 1000`:                           "longer than a duration can be",
		`age + duration("2562047h") + duration("1h") > duration("1h")`: "longer than a duration can be",
		`fromJSON(payload.words[0]) == 1`:                              "the text is not JSON",
		`sort(payload.text)[0] == 1`:                                   "sort is for arrays",
		`sort(payload.words, "up")[0] == "a"`:                          `an order is "asc" or "desc"`,
		`uniq(payload.text)[0] == 1`:                                   "uniq is for arrays",
	} {
		w, err := parseWhere(text, &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err, text)
		require.False(t, w.picks(l), text)
		require.ErrorContains(t, w.first, want, text)
	}
}

// However deep a payload is nested, an expression is evaluated or fails for this letter alone.
func TestWhereOfADeepPayload(t *testing.T) {
	t.Parallel()
	for depth, want := range map[int]bool{300: true, 9_000: true, 100_000: false} {
		w, err := parseWhere("payload.n == 1", &discretion{app: &App{Catalog: leveret.NewCatalog()}})
		require.NoError(t, err)
		body := `{"n":1,"deep":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
		require.Equal(t, want, w.picks(&deadletter.Letter{Delivery: rabbit.Delivery{Body: []byte(body)}}), depth)
	}
}
