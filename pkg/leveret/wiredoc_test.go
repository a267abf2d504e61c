package leveret

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// docs/wire.md is the contract with clients in other languages: these tests hold it to what the code does.

func wirePage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/wire.md")
	require.NoError(t, err)
	return string(text)
}

// wireTable returns the rows of the table whose head begins with the given cells.
func wireTable(t *testing.T, head ...string) [][]string {
	t.Helper()
	var rows [][]string
	found := false
	for line := range strings.Lines(wirePage(t)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if found {
				return rows
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !found:
			found = len(cells) >= len(head) && slices.Equal(cells[:len(head)], head)
		case !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	require.NotEmpty(t, rows, "no table %v", head)
	return rows
}

var quotedWord = regexp.MustCompile("`([^`]+)`")

// TestHeadersAreDocumented: every header that the code knows stands in the table, and no other.
func TestHeadersAreDocumented(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../internal/wire/headers.go", nil, 0)
	require.NoError(t, err)
	known := []string{wire.Dropped, "traceparent", "tracestate", "baggage"}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if s, err := strconv.Unquote(literal.Value); err == nil && strings.HasPrefix(s, wire.Prefix) && s != wire.Prefix {
				known = append(known, s)
			}
		}
		return true
	})
	var documented []string
	for _, row := range wireTable(t, "header") {
		for _, name := range quotedWord.FindAllStringSubmatch(row[0], -1) {
			documented = append(documented, name[1])
		}
	}
	require.ElementsMatch(t, known, documented)
	require.Greater(t, len(known), 15, "the constants are still where this test looks for them")
	for _, name := range regexp.MustCompile(`leveret-[a-z-]+[a-z]`).FindAllString(wirePage(t), -1) {
		require.Contains(t, known, name, "a header that is named anywhere on the page")
	}
}

// TestCodesAreDocumented compares the table of codes.
func TestCodesAreDocumented(t *testing.T) {
	t.Parallel()
	var documented []Code
	for _, row := range wireTable(t, "code") {
		var c Code
		require.NoError(t, c.UnmarshalText([]byte(strings.Trim(row[0], "`"))))
		require.Equal(t, "`"+c.String()+"`", row[0])
		require.Equal(t, strconv.Itoa(c.HTTPStatus()), row[1], "%v", c)
		then := "dead letter"
		if o := judge(t.Context(), &Message{Contract: NewCommand[int]("a.do"), Received: Received{Attempt: 1}}, c); o.Verdict == VerdictRetry {
			then = "tried again"
		}
		require.Equal(t, then, row[2], "%v", c)
		documented = append(documented, c)
	}
	require.ElementsMatch(t, allCodes(), documented)
	_, example, ok := strings.Cut(wirePage(t), "```json\n")
	require.True(t, ok)
	example, _, _ = strings.Cut(example, "```")
	require.JSONEq(t, example, string(EncodeProblem(NewError(NotFound, "order_unknown", "no such order"))))
}

// TestTopologyIsDocumented compares the exchanges of both layouts, and the arguments of queues.
func TestTopologyIsDocumented(t *testing.T) {
	t.Parallel()
	delays := RetryPolicy{Delays: []time.Duration{10 * time.Second}}
	payment := NewService("payment", Answers(NewRequest[int, int]("payment.authorize")),
		Handles(NewCommand[int]("payment.capture", Retry(delays))), SubscribesTo(NewEvent[int]("payment.captured", Retry(delays))), Publishes(NewEvent[int]("payment.settled", Kept(365*24*time.Hour, minKept))))
	example := strings.NewReplacer("`", "", "DELAY", "10s", "SERVICE", "payment")
	for column, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		documented := map[string]string{}
		for _, row := range wireTable(t, "kind", "exchange", "in the isolated layout") {
			shared, kind, ok := strings.Cut(row[1], ", ")
			if own := strings.Split(row[2], ", "); len(own) > 1 && layout == topology.Isolated { // the other layout has none
				documented[example.Replace(own[0])] = own[1]
			} else if ok {
				documented[example.Replace([]string{shared, row[2]}[column])] = kind
			}
		}
		declared := map[string]string{}
		for _, e := range payment.Topology(topology.Names{Layout: layout}, topology.Classic).Exchanges {
			declared[e.Name] = e.Type
		}
		require.Equal(t, declared, documented, layout)
	}
	var n topology.Names
	all := payment.Topology(n, topology.Classic)
	require.Contains(t, wirePage(t), "`"+n.RetryReturnExchange("")+"` has the alternate exchange `"+n.RetryLost("")+"`")
	for _, d := range DefaultRetryPolicy().Delays {
		require.Contains(t, wirePage(t), "`"+n.RetryTier("", d)+"`")
	}

	for kind, queue := range map[string]string{
		"work queue": "payment.capture", "request": "payment.authorize", "retry tier": "retry.10s", "dead letters": "payment.capture.dlq",
		"retry.lost": "retry.lost", "quarantine": "quarantine.payment", "stream": "payment.settled.kept",
	} {
		rows := slices.DeleteFunc(wireTable(t, "queue", "arguments"), func(row []string) bool { return !strings.HasPrefix(row[0], kind) })
		require.Len(t, rows, 1, kind)
		text := regexp.MustCompile(` \(.*?\)`).ReplaceAllString(rows[0][1], "")
		text = strings.NewReplacer("its own name", queue, "the delay in ms", "10000", "the contract's age in seconds, such as ", "",
			"its bytes", strconv.Itoa(minKept), "a tenth of that, and 500000000 at most", strconv.Itoa(minKept/10)).Replace(text)
		documented := map[string]string{}
		for argument := range strings.SplitSeq(text, ", ") {
			name, value, ok := strings.Cut(strings.TrimPrefix(argument, "`"), "` ")
			require.True(t, ok, "%s: %s", kind, argument)
			documented[name] = value
		}
		i := slices.IndexFunc(all.Queues, func(q topology.Queue) bool { return q.Name == queue })
		require.GreaterOrEqual(t, i, 0)
		declared := map[string]string{}
		for name, value := range all.Queues[i].Args {
			declared[name] = fmt.Sprint(value)
		}
		require.Equal(t, declared, documented, kind)
	}
}

// TestLimitsAreDocumented looks for the numbers.
func TestLimitsAreDocumented(t *testing.T) {
	t.Parallel()
	page := wirePage(t)
	for what, text := range map[string]string{
		"bodies":         fmt.Sprintf("%d MiB (%d bytes)", rabbit.DefaultMaxBody>>20, rabbit.DefaultMaxBody),
		"short strings":  fmt.Sprintf("| ids, names, routing keys | %d bytes |", maxShortString),
		"contract names": fmt.Sprintf("| contract's name | %d bytes: `%s` |", maxName, strings.Trim(contractName.String(), "^$")),
		"service names":  fmt.Sprintf("| service's name, namespace | %d bytes |", maxSegment),
		"skew":           fmt.Sprintf("%d s after it, the request is never handled", clockSkew/time.Second),
		"messages":       fmt.Sprintf("the last failure, cut at %d KiB", wire.MaxMessage>>10),
		"stacks":         fmt.Sprintf("cut at %d KiB", wire.MaxStack>>10),
		"expiry":         fmt.Sprintf("`x-expires` %d", topology.RequestQueueExpiry.Milliseconds()),
		"attempts":       map[int]string{5: "five by default"}[DefaultRetryPolicy().Attempts],
	} {
		require.Contains(t, page, text, what)
	}
}

// TestCopiesAreDocumented: the headers that are said to be stripped are.
func TestCopiesAreDocumented(t *testing.T) {
	t.Parallel()
	_, sentence, ok := strings.Cut(wirePage(t), "Copies (retries, dead letters, replays) come without")
	require.True(t, ok)
	sentence, _, _ = strings.Cut(sentence, ". Over")
	names := quotedWord.FindAllStringSubmatch(sentence, -1)
	require.Len(t, names, 8)
	table := rabbit.Table{"mine": "kept"}
	for _, name := range names {
		table[strings.ReplaceAll(name[1], "*", "queue")] = "x"
	}
	require.Equal(t, rabbit.Table{"mine": "kept"}, wire.Carried(table))
}
