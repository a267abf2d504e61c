package queues

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestTagsHaveTheLimitsOfTheCode keeps the limits that the schemas publish equal to those that Validate enforces.
func TestTagsHaveTheLimitsOfTheCode(t *testing.T) {
	t.Parallel()
	limits := map[string]string{
		"Lines maxItems": strconv.Itoa(MaxLines), "Shortages maxItems": strconv.Itoa(MaxLines),
		"Quantity maximum": strconv.Itoa(MaxQuantity), "Requested maximum": strconv.Itoa(MaxQuantity), "Available maximum": strconv.Itoa(MaxQuantity - 1),
		"AccessToken maxLength": strconv.Itoa(MaxAccessToken), "Type maxLength": strconv.Itoa(maxText), "Curve maxLength": strconv.Itoa(maxText), "X maxLength": strconv.Itoa(maxKey),
		"Amount maximum":       strconv.Itoa(MaxAmount),
		"CustomerID maxLength": strconv.Itoa(maxText), "SKU maxLength": strconv.Itoa(maxText),
		"CardToken maxLength": strconv.Itoa(maxText), "CardToken pattern": cardToken.String(),
		"Email maxLength": strconv.Itoa(MaxEmail), "Name maxLength": strconv.Itoa(maxText),
		"Password maxLength": strconv.Itoa(MaxPassword), "RefreshToken maxLength": strconv.Itoa(MaxRefreshToken),
		"Keys maxItems": strconv.Itoa(MaxKeys), "KeyID maxLength": strconv.Itoa(maxText),
		"Limit maximum": strconv.Itoa(MaxPage), "Limit default": strconv.Itoa(DefaultPage), "Cursor maxLength": strconv.Itoa(maxCursor),
		"Reason maxLength": strconv.Itoa(maxText), "Reason pattern": word.String(),
		"Status maxLength": strconv.Itoa(maxText), "Status pattern": word.String(),
	}
	limit := regexp.MustCompile(`(maxItems|maximum|maxLength|default|pattern)=([^,]+)`)
	seen := map[string]bool{}
	var check func(typ reflect.Type)
	check = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || !strings.HasSuffix(typ.PkgPath(), "/queues") {
			return
		}
		for f := range typ.Fields() {
			for _, m := range limit.FindAllStringSubmatch(f.Tag.Get("jsonschema"), -1) {
				key := f.Name + " " + m[1]
				if want, ok := limits[key]; ok {
					require.Equal(t, want, m[2], "%s.%s", typ, f.Name)
					seen[key] = true
				}
			}
			check(f.Type)
		}
	}
	for _, c := range Catalog.Contracts() {
		check(c.Spec().Payload)
		if c.Spec().Kind == leveret.KindRequest {
			check(c.Spec().Reply)
		}
	}
	require.Len(t, seen, len(limits), "a limit is not in any tag: %v", seen)
}
