package definitions_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

var update = flag.Bool("update", false, "write the golden files, and the block of docs/operations.md, instead of comparing with them")

// golden compares a text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test ./pkg/definitions -update writes it")
	require.Equal(t, string(want), got)
}

// report returns a table of what the layout does not refuse, although no contract needs it: by which right, and whose.
func (tr *trial) report() string {
	rights := map[string]map[*person]map[string]bool{}
	note := func(right string, p *person, queue string) {
		if rights[right] == nil {
			rights[right] = map[*person]map[string]bool{}
		}
		if rights[right][p] == nil {
			rights[right][p] = map[string]bool{}
		}
		rights[right][p][queue] = true
	}
	for _, f := range tr.found {
		switch f.did {
		case "publish to":
			for queue := range tr.seen[f.person][f.on] {
				if !f.person.needs.reach[queue] {
					note("write to "+quoted(f.on), f.person, queue)
				}
			}
		case "listen to":
			for _, b := range tr.topology.Bindings {
				mine := tr.owners[b.Queue] == f.person || f.person.needs.take[b.Queue]
				if strings.HasPrefix(f.on, "operators.") { // questions and answers of those whom it asks or answers
					mine = mine || f.person.needs.reach[b.Queue]
				}
				if b.Exchange == f.on && b.RoutingKey == f.by && !mine {
					note("read "+quoted(f.on), f.person, b.Queue)
				}
			}
		}
	}
	text := "| the right to | of the users | reaches further than they need |\n| --- | --- | --- |\n"
	for _, right := range slices.Sorted(maps.Keys(rights)) {
		copies := ""
		if strings.HasPrefix(right, "read") {
			copies = "copies of "
		}
		var all []string // kinds of queues of which it reaches all
		var users []string
		rows := map[string][]string{}
		for _, p := range tr.people { // in the order of the catalog
			queues := rights[right][p]
			if queues == nil {
				continue
			}
			users = append(users, p.name)
			whole, names := tr.describe(p, queues)
			if all = append(all, whole...); len(names) > 0 {
				row := strings.Join(names, ", ")
				rows[row] = append(rows[row], p.name)
			}
		}
		if len(all) > 0 {
			all = slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return !slices.Contains(all, kind) })
			text += fmt.Sprintf("| %s | %s | %sall %s |\n", right, strings.Join(users, ", "), copies, strings.Join(all, ", "))
		}
		for _, row := range slices.Sorted(maps.Keys(rows)) {
			text += fmt.Sprintf("| %s | %s | %s%s |\n", right, strings.Join(rows[row], ", "), copies, row)
		}
	}
	return text
}

var delay = regexp.MustCompile(`^(retry.*\.)(1s|10s|1m|10m)$`)

// quoted returns the name of an exchange as a permission has it; that of a tier without its delay.
func quoted(exchange string) string {
	if exchange == "" {
		exchange = "amq.default"
	}
	return "`" + delay.ReplaceAllString(exchange, "$1<delay>") + "`"
}

var kinds = []string{"commands", "subscriptions", "requests", "dead letters", "quarantines", "retries", "streams", "control queues", "reply queues"}

// describe returns the kinds of queues of which these are all that the person has not a right to anyway, and the names
// of others.
func (tr *trial) describe(p *person, queues map[string]bool) (all, names []string) {
	for _, kind := range kinds {
		var reached []string
		whole := true
		for _, queue := range slices.Sorted(slices.Values(tr.queues)) {
			switch {
			case tr.kind(queue) != kind:
			case queues[queue]:
				reached = append(reached, "`"+strings.TrimSuffix(queue, "."+live)+"`")
			case tr.owners[queue] != p && !p.needs.reach[queue] && !p.needs.take[queue] && !passing(queue):
				whole = false
			}
		}
		if whole && len(reached) > 0 {
			all = append(all, kind)
		} else {
			names = append(names, reached...)
		}
	}
	return all, names
}

// kind says what a queue is for.
func (tr *trial) kind(queue string) string {
	for prefix, kind := range map[string]string{
		"retry.": "retries", "quarantine.": "quarantines", "control.": "control queues", "reply.": "reply queues",
	} {
		if strings.HasPrefix(queue, prefix) {
			return kind
		}
	}
	if strings.HasSuffix(queue, ".dlq") {
		return "dead letters"
	}
	if tr.streams[queue] != nil {
		return "streams"
	}
	for _, s := range tr.catalog.Services() {
		for _, q := range s.WorkQueues(tr.names) {
			if q.Name == queue {
				return map[leveret.Kind]string{
					leveret.KindCommand: "commands", leveret.KindEvent: "subscriptions", leveret.KindRequest: "requests",
				}[q.Contract.Spec().Kind]
			}
		}
	}
	return "queues"
}

// documented compares the block of the documentation with the golden files.
func documented(t *testing.T) {
	t.Helper()
	const page, begin, end = "../../docs/operations.md", "<!-- default mode: generated -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	block, after, found := strings.Cut(rest, end)
	require.True(t, found)
	shared, err := os.ReadFile("testdata/shared-layout.md")
	require.NoError(t, err)
	isolated, err := os.ReadFile("testdata/isolated-layout.md")
	require.NoError(t, err)
	want := "\n" + string(shared) + "\nWhat remains in the isolated layout:\n\n" + string(isolated) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(before+begin+want+end+after), 0o600))
		return
	}
	require.Equal(t, want, block)
}
