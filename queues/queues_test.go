package queues_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func TestCatalogIsSound(t *testing.T) {
	t.Parallel()
	require.NoError(t, queues.Catalog.Err())
}

// TestExamples sends every contract's example through JSON and back, and validates it.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, c := range queues.Catalog.Contracts() {
		t.Run(c.Spec().Name, func(t *testing.T) {
			t.Parallel()
			example := c.Spec().Example
			require.NotNil(t, example, "the contract has no example")
			v, ok := example.(interface{ Validate() error })
			require.True(t, ok, "the payload has no Validate")
			require.NoError(t, v.Validate())

			body, err := json.Marshal(example)
			require.NoError(t, err)
			back := reflect.New(c.Spec().Payload)
			require.NoError(t, json.Unmarshal(body, back.Interface()))
			require.Equal(t, example, back.Elem().Interface())
		})
	}
}

// TestFieldsAreSnakeCase also fails for a field without an explicit JSON name.
func TestFieldsAreSnakeCase(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	var check func(t *testing.T, typ reflect.Type)
	check = func(t *testing.T, typ reflect.Type) {
		t.Helper()
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[queues.Money]().PkgPath() || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, name, "%s.%s", typ, f.Name)
			check(t, f.Type)
		}
	}
	for _, c := range queues.Catalog.Contracts() {
		check(t, c.Spec().Payload)
		if c.Spec().Kind == leveret.KindRequest {
			check(t, c.Spec().Reply)
		}
	}
}
