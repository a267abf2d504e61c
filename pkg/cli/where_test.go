package cli

import (
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
