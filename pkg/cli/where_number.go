package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
	"github.com/expr-lang/expr/vm/runtime"
)

// exact is a number that neither an int nor a float64 holds with all its digits, as JSON writes it.
type exact string

// MarshalJSON implements json.Marshaler, for toJSON.
func (e exact) MarshalJSON() ([]byte, error) { return []byte(e), nil }

// number returns a number of JSON as an expression sees it: an int, else a float64, else an exact.
func number(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && strings.ContainsAny(text, ".eE") && decimalOf(text).compare(decimalOf(formatFloat(f, 64))) == 0 {
		return f
	}
	return exact(text)
}

// readNumbers decodes a payload for an expression; false if it is not JSON.
func readNumbers(body []byte) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(withoutMark(body)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return plainNumbers(v), true
}

// plainNumbers replaces the numbers in a value.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v.String())
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plainNumbers(v[name])
		}
	}
	return v
}

func formatFloat(f float64, bits int) string { return strconv.FormatFloat(f, 'g', -1, bits) }

// numberText returns a number as text; false for what is none.
func numberText(v any) (string, bool) {
	switch v := v.(type) {
	case exact:
		return string(v), true
	case int:
		return strconv.Itoa(v), true
	case float64:
		text := formatFloat(v, 64)
		return text, !strings.ContainsAny(text, "NI") // NaN, Inf
	case float32:
		text := formatFloat(float64(v), 32)
		return text, !strings.ContainsAny(text, "NI")
	case int8, int16, int32, int64:
		return strconv.FormatInt(reflect.ValueOf(v).Int(), 10), true
	case uint, uint8, uint16, uint32, uint64:
		return strconv.FormatUint(reflect.ValueOf(v).Uint(), 10), true
	default:
		return "", false
	}
}

// A decimal is the number 0.digits times ten to the power of exponent. Zero has no digits.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

func decimalOf(text string) decimal {
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return decimal{}
	}
	e, _ := strconv.Atoi(power) // of one out of range, the nearest
	const limit = 1 << 60
	return decimal{negative, strings.TrimRight(digits, "0"), min(max(e, -limit), limit) - len(fraction) + len(digits)}
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	default:
		return 1
	}
}

func (d decimal) compare(other decimal) int {
	if s := d.sign(); s != other.sign() || s == 0 {
		return cmp.Compare(s, other.sign())
	}
	return d.sign() * cmp.Or(cmp.Compare(d.exponent, other.exponent), strings.Compare(d.digits, other.digits))
}

// compareNumbers returns false if one of the two is no number.
func compareNumbers(a, b any) (int, bool) {
	x, isX := numberText(a)
	y, isY := numberText(b)
	if !isX || !isY {
		return 0, false
	}
	return decimalOf(x).compare(decimalOf(y)), true
}

// equal compares two values as == does, but all digits of the numbers in them.
func equal(a, b any) bool {
	if order, ok := compareNumbers(a, b); ok {
		return order == 0
	}
	switch x := a.(type) {
	case []any:
		if y, ok := b.([]any); ok {
			return slices.EqualFunc(x, y, equal)
		}
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return ok && len(x) == len(y)
		}
		for name, value := range x {
			if other, has := y[name]; !has || !equal(value, other) {
				return false
			}
		}
		return true
	}
	return runtime.Equal(a, b)
}

// within is the operator in.
func within(needle, in any) bool {
	list := reflect.ValueOf(in)
	if k := list.Kind(); k != reflect.Slice && k != reflect.Array {
		return runtime.In(needle, in)
	}
	for i := range list.Len() {
		if equal(needle, list.Index(i).Interface()) {
			return true
		}
	}
	return false
}

// ordering returns a comparison: of numbers exactly, of anything else as otherwise.
func ordering(holds func(order int) bool, otherwise func(a, b any) bool) func(a, b any) (any, error) {
	return func(a, b any) (any, error) {
		if order, ok := compareNumbers(a, b); ok {
			return holds(order), nil
		}
		return otherwise(a, b), nil
	}
}

// maxPower is the largest power of ten that is computed with.
const maxPower = 400

var (
	errTooLarge = errors.New("a number is too large or too small to compute with")
	errTooLong  = errors.New("the result is longer than a duration can be, 292 years")
)

// rational returns a number to compute with; nil for what is none.
func rational(v any) (*big.Rat, error) {
	text, ok := numberText(v)
	if !ok {
		return nil, nil //nolint:nilnil // it is no number
	}
	if d := decimalOf(text); d.exponent > maxPower || d.exponent-len(d.digits) < -maxPower {
		return nil, errTooLarge
	}
	r, _ := new(big.Rat).SetString(text)
	return r, nil
}

// arithmetic returns an operator that computes exactly with numbers, and as otherwise with anything else.
func arithmetic(compute func(x, y *big.Rat) (any, error), otherwise func(a, b any) any) func(a, b any) (any, error) {
	return func(a, b any) (any, error) {
		x, err := rational(nanoseconds(a))
		if err != nil {
			return nil, err
		}
		y, err := rational(nanoseconds(b))
		if err != nil {
			return nil, err
		}
		if x == nil || y == nil {
			return otherwise(a, b), nil
		}
		result, err := compute(x, y)
		if nanoseconds(a) == a && nanoseconds(b) == b || err != nil {
			return result, err
		}
		loose := otherwise(a, b) // which knows what is a duration
		if !equal(nanoseconds(loose), result) && nanoseconds(loose) != loose {
			return nil, errTooLong
		}
		return loose, nil
	}
}

// nanoseconds returns a duration as a number, and anything else as it is.
func nanoseconds(v any) any {
	if d, ok := v.(time.Duration); ok {
		return d.Nanoseconds()
	}
	return v
}

// plain returns the result of a computation.
func plain(r *big.Rat) (any, error) {
	digits, _ := r.FloatPrec() // exact, for the factors of the denominator are 2 and 5
	return number(r.FloatString(digits)), nil
}

func divide(x, y *big.Rat) (any, error) {
	if y.Sign() == 0 {
		return nil, errors.New("division by zero")
	}
	q := new(big.Rat).Quo(x, y)
	if _, finite := q.FloatPrec(); finite {
		return plain(q)
	}
	f, _ := q.Float64()
	return f, nil
}

// power raises a number to a power; only to a whole one exactly.
func power(a, b any) (any, error) {
	x, err := rational(a)
	if err != nil {
		return nil, err
	}
	y, err := rational(b)
	switch {
	case err != nil:
		return nil, err
	case x == nil || y == nil || !y.IsInt():
		return runtime.Exponent(a, b), nil
	case x.Sign() == 0 && y.Sign() < 0:
		return nil, errors.New("division by zero")
	}
	text, _ := numberText(a)
	d, n := decimalOf(text), new(big.Int).Abs(y.Num())
	size := big.NewInt(int64(max(d.exponent, len(d.digits)-d.exponent, 1)))
	if size.Mul(size, n).Cmp(big.NewInt(maxPower)) > 0 && (len(d.digits) > 1 || d.digits != "" && d != decimalOf("1") && d != decimalOf("-1")) {
		return nil, errTooLarge
	}
	if n.BitLen() > 31 {
		n.SetInt64(2 - int64(n.Bit(0))) // of 0, 1 and -1
	}
	r := new(big.Rat).SetFrac(new(big.Int).Exp(x.Num(), n, nil), new(big.Int).Exp(x.Denom(), n, nil))
	if y.Sign() < 0 {
		return divide(big.NewRat(1, 1), r)
	}
	return plain(r)
}

func remainder(x, y *big.Rat) (any, error) {
	switch {
	case !x.IsInt() || !y.IsInt():
		return nil, errors.New("% is for whole numbers")
	case y.Sign() == 0:
		return nil, errors.New("division by zero")
	}
	return number(new(big.Int).Rem(x.Num(), y.Num()).String()), nil
}

type exactOperator struct {
	apply func(a, b any) (any, error)
	typ   any // of a function like it
}

// operators are those that compute with numbers exactly. An expression calls them under their own names.
func operators() map[string]exactOperator {
	truth, value := new(func(any, any) bool), new(func(any, any) any)
	sum := func(f func(r, x, y *big.Rat) *big.Rat) func(x, y *big.Rat) (any, error) {
		return func(x, y *big.Rat) (any, error) { return plain(f(new(big.Rat), x, y)) }
	}
	return map[string]exactOperator{
		"==": {func(a, b any) (any, error) { return equal(a, b), nil }, truth},
		"!=": {func(a, b any) (any, error) { return !equal(a, b), nil }, truth},
		"in": {func(a, b any) (any, error) { return within(a, b), nil }, truth},
		"<":  {ordering(func(order int) bool { return order < 0 }, runtime.Less), truth},
		"<=": {ordering(func(order int) bool { return order <= 0 }, runtime.LessOrEqual), truth},
		">":  {ordering(func(order int) bool { return order > 0 }, runtime.More), truth},
		">=": {ordering(func(order int) bool { return order >= 0 }, runtime.MoreOrEqual), truth},
		"+":  {arithmetic(sum((*big.Rat).Add), runtime.Add), value},
		"-":  {arithmetic(sum((*big.Rat).Sub), runtime.Subtract), value},
		"*":  {arithmetic(sum((*big.Rat).Mul), runtime.Multiply), value},
		"/":  {arithmetic(divide, func(a, b any) any { return runtime.Divide(a, b) }), value},
		"**": {power, value},
		"^":  {power, value},
		"%":  {arithmetic(remainder, func(a, b any) any { return runtime.Modulo(a, b) }), value},
	}
}

// exactly compiles an expression whose operators are exact where the types of their operands are not known before it
// runs, and whose literals are.
func exactly(text string) (string, []expr.Option) {
	all, named := operators(), functions()
	options := []expr.Option{expr.Patch(&exactOperators{all, named, []rune(text)})}
	for name, f := range named {
		options = append(options, expr.Function(" "+name, f, new(func(...any) any)))
	}
	for name, o := range all {
		options = append(options, expr.Function(name, func(params ...any) (any, error) { return o.apply(params[0], params[1]) }, o.typ))
	}
	return readableNumbers(text), options
}

// readableNumbers replaces literals that are too large for the parser by others of the same length: [exactOperators] puts
// the number back.
func readableNumbers(text string) string {
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return text // which the parser explains
	}
	runes := []rune(text)
	for _, t := range tokens {
		if t.Kind == lexer.Number && strings.Trim(t.Value, "0123456789_.eE+-") == "" && numberFails(t.Value) {
			for i := t.From; i < t.To; i++ {
				runes[i] = '0'
			}
			runes[t.From+1] = '.'
		}
	}
	return string(runes)
}

func numberFails(literal string) bool {
	_, err := strconv.ParseFloat(strings.ReplaceAll(literal, "_", ""), 64)
	if !strings.ContainsAny(literal, ".eE") {
		_, err = strconv.Atoi(strings.ReplaceAll(literal, "_", ""))
	}
	return err != nil
}

// exactOperators changes an expression: operators on what is not known to be a text are calls of the exact ones, and so are
// functions; and literals have all digits.
type exactOperators struct {
	all   map[string]exactOperator
	named map[string]func(args ...any) (any, error)
	text  []rune
}

// Visit implements ast.Visitor. It visits operands before their operator.
func (o *exactOperators) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.FloatNode:
		at := n.Location()
		if literal := number(strings.ReplaceAll(string(o.text[at.From:at.To]), "_", "")); literal != any(n.Value) {
			ast.Patch(node, &ast.ConstantNode{Value: literal})
		}
	case *ast.UnaryNode:
		if n.Operator == "-" && open(n.Node) {
			o.call(node, " negate", n.Node)
		}
	case *ast.BinaryNode:
		if _, ok := o.all[n.Operator]; ok && (open(n.Left) || open(n.Right)) {
			o.call(node, n.Operator, n.Left, n.Right)
		}
	case *ast.BuiltinNode:
		if o.named[n.Name] != nil {
			name, args := function(n)
			o.call(node, " "+name, args...)
		}
	}
}

func (o *exactOperators) call(node *ast.Node, operator string, arguments ...ast.Node) {
	ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: operator}, Arguments: arguments})
}

// open reports whether a value may be a number: it is one, or its type is not known before the expression runs.
func open(n ast.Node) bool {
	constant, ok := n.(*ast.ConstantNode)
	if ok {
		_, ok = constant.Value.(exact)
		return ok
	}
	t := n.Type()
	return t.Kind() == reflect.Interface || reflect.Int <= t.Kind() && t.Kind() <= reflect.Float64 || t == reflect.TypeFor[[]any]() || t == reflect.TypeFor[map[string]any]()
}
