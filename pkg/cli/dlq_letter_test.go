package cli

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A deep payload or header is given as text, so that what reads the list, such as jq with its 256 levels, can read the
// others.
func TestDeepValuesAreTextInAList(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat("[", depth) + "1.10" + strings.Repeat("]", depth) }
	deep := any("bottom")
	for range 300 {
		deep = rabbit.Table{"n": deep}
	}
	bodies := []string{nested(100), "\ufeff" + nested(1), nested(101), nested(300), nested(9_999), nested(100_000), `{"id":1541815603606036481}`, "\xff"}
	letters := make([]*deadletter.Letter, len(bodies))
	for i, body := range bodies {
		letters[i] = &deadletter.Letter{Delivery: rabbit.Delivery{Body: []byte(body), Headers: rabbit.Table{
			"deep": deep, "n": int64(1541815603606036481), "half": 0.5, "none": math.NaN(), "endless": math.Inf(1),
		}}}
	}
	d := &discretion{app: &App{Catalog: leveret.NewCatalog()}}
	views, err := d.views(letters)
	require.NoError(t, err)
	text, err := json.Marshal(views)
	require.NoError(t, err)
	require.LessOrEqual(t, nesting(text), maxNesting+2)
	require.NotContains(t, string(text), "15418156036060364800")
	require.Contains(t, string(text), `"endless":"+Inf","half":0.5,"n":1541815603606036481,"none":"NaN"`)
	for i, v := range views {
		switch body := bodies[i]; i {
		case 0, 1, 6:
			require.Equal(t, strings.TrimPrefix(body, "\ufeff"), string(v.Payload))
			require.Nil(t, v.PayloadText)
		case 7:
			require.Equal(t, "/w==", *v.PayloadBase64)
		default:
			require.Nil(t, v.Payload)
			require.Equal(t, body, *v.PayloadText)
		}
		require.Equal(t, int64(1541815603606036481), v.Headers.(map[string]any)["n"])
	}
}
