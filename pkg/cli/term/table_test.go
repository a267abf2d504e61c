package term

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	t.Parallel()
	table := NewTable("NAME", "N#", "TEXT")
	table.Add(Cell{"ä", Bold}, Plain("1"), Plain("one\ntwo\t three"))
	table.Add(Plain("long name"), Cell{"100", Red}, Plain("\x1b[31mred\x1b[0m \u202eright to left\xff"))
	table.Add()
	table.Add(Plain("a"), Plain("b"), Plain("c"), Plain("one too many"))
	var b strings.Builder
	require.NoError(t, table.Write(&b, Style{}, 0))
	require.Equal(t, "NAME         N  TEXT\n"+
		"ä            1  one two three\n"+
		"long name  100  \\u001b[31mred\\u001b[0m \\u202eright to left\ufffd\n"+
		"-            -  -\n"+
		"a            b  c\n", b.String())
	b.Reset()
	require.NoError(t, table.Write(&b, Style{on: true}, 24))
	require.Contains(t, b.String(), "\x1b[1mä\x1b[0m            1  one two…\n")
	require.Contains(t, b.String(), "long name  \x1b[31m100\x1b[0m  ")
}

// A long text in one row would be as many spaces in all others.
func TestTableGrowsNoFasterThanItsCells(t *testing.T) {
	t.Parallel()
	table := NewTable("NAME", "WHY", "ERROR")
	const long, rows = 1 << 20, 1000
	table.Add(Plain(strings.Repeat("n", long)), Plain(strings.Repeat("ü", long)), Plain(strings.Repeat("e", long)))
	for range rows {
		table.Add(Plain("n"), Plain("w"), Plain("e"))
	}
	var b strings.Builder
	require.NoError(t, table.Write(&b, Style{}, 0))
	require.Less(t, b.Len(), long+rows*600)
	require.Contains(t, b.String(), strings.Repeat("n", 254)+"…  "+strings.Repeat("ü", 254)+"…  "+strings.Repeat("e", long)+"\n")
}

func TestTableFits(t *testing.T) {
	t.Parallel()
	fit := func(width int) string {
		table := NewTable("QUEUE", "READY#", "UNACKED#", "STATE")
		table.Add(Plain("inventory.on.order.cancelled.dlq"), Plain("100"), Plain("1"), Plain("not declared"))
		table.Add(Plain("order.place"), Plain("5"), Plain("2"), Plain(""))
		table.Fit(width, "UNACKED", "STATE")
		var b strings.Builder
		require.NoError(t, table.Write(&b, Style{}, width))
		return b.String()
	}
	require.Equal(t, ""+
		"QUEUE                             READY  UNACKED  STATE\n"+
		"inventory.on.order.cancelled.dlq    100        1  not declared\n"+
		"order.place                           5        2  -\n", fit(62))
	require.Equal(t, ""+
		"QUEUE                           READY  UNACKED  STATE\n"+
		"inventory.on.or….cancelled.dlq    100        1  not declared\n"+
		"order.place                         5        2  -\n", fit(60))
	require.Equal(t, ""+
		"QUEUE                        READY  STATE\n"+
		"inventory.on.…cancelled.dlq    100  not declared\n"+
		"order.place                      5  -\n", fit(48))
	require.Equal(t, ""+
		"QUEUE             READY\n"+
		"inventor…led.dlq    100\n"+
		"order.place           5\n", fit(23))
}

// An error has a line of its own where a narrow terminal would show a few characters of it.
func TestTableWritesLongTextsBelow(t *testing.T) {
	t.Parallel()
	written := func(width int) string {
		table := NewTable("QUEUE", "COUNT#", "ERROR~")
		table.Add(Painted("payment.on.order.placed", Bold), Plain("98"), Plain("unavailable: the bank\ndoes not answer"))
		table.Add(Plain("order.place"), Plain("5"))
		var b strings.Builder
		require.NoError(t, table.Write(&b, Style{}, width))
		return b.String()
	}
	wide := "" +
		"QUEUE                    COUNT  ERROR\n" +
		"payment.on.order.placed     98  unavailable: the bank does not answer\n" +
		"order.place                  5  -\n"
	require.Equal(t, wide, written(0), "to a pipe each row is one line")
	require.Equal(t, wide, written(69))
	require.Equal(t, ""+
		"QUEUE                    COUNT\n"+
		"payment.on.order.placed     98\n"+
		"  unavailable: the bank does not answer\n"+
		"order.place                  5\n", written(68))
	require.Contains(t, written(30), "\n  unavailable: the bank does …\n")
}
