package shoptest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Table reads the table of a Markdown file whose first column has the given heading. It returns the cells by row and
// column.
func Table(t *testing.T, path, heading string) map[string]map[string]string {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var columns []string
	table := map[string]map[string]string{}
	for line := range strings.Lines(string(file)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " *")
		}
		switch {
		case columns == nil && cells[0] == heading:
			columns = cells
		case columns != nil && len(cells) != len(columns):
			return table
		case columns != nil && !strings.HasPrefix(cells[0], "---"):
			require.NotContains(t, table, cells[0], "the table has this row twice")
			table[cells[0]] = map[string]string{}
			for i, c := range columns[1:] {
				table[cells[0]][c] = cells[i+1]
			}
		}
	}
	require.NotEmpty(t, table, "no table %q in %s", heading, path)
	return table
}
