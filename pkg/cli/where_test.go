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
