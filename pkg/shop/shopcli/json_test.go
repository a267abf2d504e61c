package shopcli

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The ledger that demo -o json prints is an interface: docs/cli.md has to name every field.
func TestEveryFieldOfTheLedgerIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/cli.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## demo\n")
	require.True(t, found)
	for _, printed := range []any{result{}, resultLatency{}, resultIDs{}} {
		for f := range reflect.TypeOf(printed).Fields() {
			require.Contains(t, section, "`"+f.Tag.Get("json")+"`", "docs/cli.md does not name %s", f.Tag.Get("json"))
		}
	}
}
