package shopcli

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/conformance"
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

// So is what conformance -o json prints.
func TestEveryFieldOfConformanceIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/cli.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## conformance, conformance rules\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, printed := range []any{conformance.Report{}, conformance.Result{}, conformanceRule{}} {
		for f := range reflect.TypeOf(printed).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			require.Contains(t, section, "`"+name+"`", "docs/cli.md does not name %s", name)
		}
	}
}

// So is what compare -o json prints.
func TestEveryFieldOfAComparisonIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/cli.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## compare\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Slice:
			walk(typ.Elem())
		case reflect.Struct:
			for f := range typ.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" {
					require.Contains(t, section, "`"+name+"`", "docs/cli.md does not name %s", name)
				}
				if name != "" || f.Anonymous {
					walk(f.Type)
				}
			}
		default:
		}
	}
	walk(reflect.TypeFor[compare.Result]())
}
