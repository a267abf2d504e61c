package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"
)

// functions are those of the language that compute with numbers, computing exactly. An expression calls them under these
// names with a blank in front, which no name of its own has.
func functions() map[string]func(args ...any) (any, error) {
	return map[string]func(args ...any) (any, error){
		"negate":   negate,
		"sum":      func(args ...any) (any, error) { return total("sum", args) },
		"mean":     mean,
		"median":   median,
		"min":      func(args ...any) (any, error) { return extreme("min", -1, args) },
		"max":      func(args ...any) (any, error) { return extreme("max", 1, args) },
		"abs":      func(args ...any) (any, error) { return absolute(args[0]) },
		"ceil":     func(args ...any) (any, error) { return rounded("ceil", args[0], ceiling) },
		"floor":    func(args ...any) (any, error) { return rounded("floor", args[0], floor) },
		"round":    func(args ...any) (any, error) { return rounded("round", args[0], nearest) },
		"int":      func(args ...any) (any, error) { return rounded("int", read(args[0]), truncated) },
		"float":    func(args ...any) (any, error) { return asNumber("float", read(args[0])) },
		"fromJSON": fromJSON,
		"sort":     func(args ...any) (any, error) { return sorted(args[0], args[0], args[1:]) },
		"sortBy":   func(args ...any) (any, error) { return sorted(args[0], args[1], args[2:]) },
		"uniq":     func(args ...any) (any, error) { return distinct(args[0]) },
	}
}

// function returns the call of an exact function in place of one of the language's, or nil.
func function(n *ast.BuiltinNode) (name string, args []ast.Node) {
	args = n.Arguments
	if (n.Name == "sum" || n.Name == "sortBy") && len(args) > 1 {
		each := &ast.BuiltinNode{Name: "map", Arguments: slices.Clone(args[:2])}
		if n.Name == "sum" {
			return n.Name, []ast.Node{each}
		}
		return n.Name, append([]ast.Node{args[0], each}, args[2:]...)
	}
	return n.Name, args
}

func notANumber(function string, v any) error {
	return fmt.Errorf("%s is for numbers, not for %s", function, kindOf(v))
}

// kindOf names what a value is, as JSON does.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case time.Duration:
		return "a duration"
	default:
		return fmt.Sprintf("%T", v)
	}
}

func asNumber(function string, v any) (any, error) {
	if _, ok := numberText(nanoseconds(v)); !ok {
		return nil, notANumber(function, v)
	}
	return v, nil
}

// numbers returns the numbers among the arguments of a function, and in the lists among them.
func numbers(function string, args []any) (all []any, err error) {
	for _, arg := range args {
		if list := reflect.ValueOf(arg); list.Kind() == reflect.Slice || list.Kind() == reflect.Array {
			items := make([]any, list.Len())
			for i := range items {
				items[i] = list.Index(i).Interface()
			}
			if items, err = numbers(function, items); err != nil {
				return nil, err
			}
			all = append(all, items...)
			continue
		}
		n, err := asNumber(function, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func total(function string, args []any) (any, error) {
	all, err := numbers(function, args)
	if err != nil {
		return nil, err
	}
	sum := new(big.Rat)
	for _, n := range all {
		r, err := rational(nanoseconds(n))
		if err != nil {
			return nil, err
		}
		sum.Add(sum, r)
	}
	return plain(sum)
}

func mean(args ...any) (any, error) {
	all, err := numbers("mean", args)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return meanOf(all...)
}

func meanOf(all ...any) (any, error) {
	sum, err := total("mean", all)
	if err != nil {
		return nil, err
	}
	return arithmetic(divide, nil)(sum, len(all))
}

func median(args ...any) (any, error) {
	all, err := numbers("median", args)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	slices.SortFunc(all, order)
	half := len(all) / 2
	if len(all)%2 == 1 {
		return all[half], nil
	}
	return meanOf(all[half-1], all[half])
}

// order compares two numbers.
func order(a, b any) int {
	c, _ := compareNumbers(nanoseconds(a), nanoseconds(b))
	return c
}

// extreme returns the number that is the largest by sign.
func extreme(function string, sign int, args []any) (any, error) {
	all, err := numbers(function, args)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return slices.MaxFunc(all, func(a, b any) int { return sign * order(a, b) }), nil
}

func negate(args ...any) (any, error) {
	if text, ok := numberText(args[0]); ok {
		if positive, negative := strings.CutPrefix(text, "-"); negative {
			return number(positive), nil
		}
		return number("-" + text), nil
	}
	return nil, notANumber("-", args[0])
}

func absolute(v any) (any, error) {
	text, ok := numberText(v)
	if !ok {
		return nil, notANumber("abs", v)
	}
	return number(strings.TrimPrefix(text, "-")), nil
}

func rounded(function string, v any, whole func(r *big.Rat) *big.Int) (any, error) {
	text, ok := numberText(v)
	if !ok {
		return nil, notANumber(function, v)
	}
	if d := decimalOf(text); d.exponent >= len(d.digits) && !strings.Contains(text, ".") {
		return v, nil // it is whole
	}
	r, err := rational(v)
	if err != nil {
		return nil, err
	}
	return number(whole(r).String()), nil
}

func truncated(r *big.Rat) *big.Int { return new(big.Int).Quo(r.Num(), r.Denom()) }

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) } // for the denominator is positive

func ceiling(r *big.Rat) *big.Int {
	n := floor(new(big.Rat).Neg(r))
	return n.Neg(n)
}

// nearest rounds halves away from zero.
func nearest(r *big.Rat) *big.Int {
	half := big.NewRat(int64(cmp.Or(r.Sign(), 1)), 2)
	return truncated(half.Add(half, r))
}

// read returns the number that a text says; anything else is returned as it is.
func read(v any) any {
	text, ok := v.(string)
	if !ok || strings.Trim(text, "0123456789.eE+-") != "" {
		return v
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return v
	}
	return number(strings.TrimPrefix(text, "+"))
}

func fromJSON(args ...any) (any, error) {
	text, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("fromJSON is for strings, not for %s", kindOf(args[0]))
	}
	v, ok := readNumbers([]byte(text))
	if !ok {
		return nil, errors.New("fromJSON: the text is not JSON")
	}
	return v, nil
}

// sorted sorts a list by the values that belong to its items.
func sorted(list, by any, direction []any) (any, error) {
	items, values := reflect.ValueOf(list), reflect.ValueOf(by)
	if items.Kind() != reflect.Slice || values.Kind() != reflect.Slice || items.Len() != values.Len() {
		return nil, fmt.Errorf("sort is for arrays, not for %s", kindOf(list))
	}
	descending := len(direction) > 0 && direction[0] == "desc"
	if len(direction) > 0 && !descending && direction[0] != "asc" {
		return nil, errors.New(`an order is "asc" or "desc"`)
	}
	places := make([]int, items.Len())
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(i, j int) int {
		a, b := values.Index(i).Interface(), values.Index(j).Interface()
		if descending {
			a, b = b, a
		}
		c, ok := compareNumbers(a, b)
		switch {
		case ok:
			return c
		case runtime.Less(a, b):
			return -1
		case runtime.Less(b, a):
			return 1
		default:
			return 0
		}
	})
	all := make([]any, len(places))
	for i, place := range places {
		all[i] = items.Index(place).Interface()
	}
	return all, nil
}

func distinct(list any) (any, error) {
	items := reflect.ValueOf(list)
	if items.Kind() != reflect.Slice && items.Kind() != reflect.Array {
		return nil, fmt.Errorf("uniq is for arrays, not for %s", kindOf(list))
	}
	all := []any{}
	for i := range items.Len() {
		if item := items.Index(i).Interface(); !slices.ContainsFunc(all, func(other any) bool { return equal(item, other) }) {
			all = append(all, item)
		}
	}
	return all, nil
}
