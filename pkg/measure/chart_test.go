package measure_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

func TestChartIsXML(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, measure.Chart{Title: "A & B", Subtitle: "<sub>", Panels: []measure.Panel{
		{Title: "One", Unit: "seconds", Bars: []measure.Bar{{Label: "a", Value: 0}, {Label: "b", Value: 0.02, Fill: measure.Hatched}}},
		{Title: "Two", Unit: "per second", Bars: []measure.Bar{{Label: "a <1>", Bold: true, Value: 5500, Min: 1000, Max: 21000, Note: "5500"}}},
		{Title: "Share", Unit: "per cent", Top: 100, Bars: []measure.Bar{{Label: "a", Value: 100}, {Label: "b", Value: 99.5}}},
		{Title: "None"},
	}}.Write(&b))
	decoder := xml.NewDecoder(&b)
	text := ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if data, ok := token.(xml.CharData); ok {
			text += string(data) + "\n"
		}
	}
	require.NotContains(t, text, "None")
	require.Contains(t, text, "\n75\n")
	require.NotContains(t, text, "\n150\n", "a share has no more than 100 per cent")
	for _, want := range []string{"A & B", "<sub>", "a <1>", "10k", "0.005", "5500", "seconds"} {
		require.Contains(t, text, want)
	}
}
