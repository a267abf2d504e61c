package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Headers are stored as JSON. Text, truths, null and int64 are what they are there; everything else is an object that names
// its type: {"time": 1750000000}.

func encodeHeaders(headers map[string]any) (json.RawMessage, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	of, err := encodeTable(headers)
	if err != nil {
		return nil, err
	}
	return json.Marshal(of)
}

func encodeTable(table map[string]any) (map[string]any, error) {
	of := make(map[string]any, len(table))
	for name, value := range table {
		v, err := encodeHeader(value)
		if err != nil {
			return nil, leveret.Errorf(leveret.InvalidArgument, "the header %q: %w", name, err)
		}
		if !utf8.ValidString(name) {
			return nil, leveret.Errorf(leveret.InvalidArgument, "the name of the header %q is not UTF-8", name)
		}
		of[name] = v
	}
	return of, nil
}

type typed map[string]any

func encodeHeader(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool, int64:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return typed{"text": []byte(v)}, nil
		}
		return v, nil
	case []byte:
		return typed{"bytes": v}, nil
	case int:
		return typed{"int": v}, nil
	case int8:
		return typed{"int8": v}, nil
	case uint8:
		return typed{"uint8": v}, nil
	case int16:
		return typed{"int16": v}, nil
	case uint16:
		return typed{"uint16": v}, nil
	case int32:
		return typed{"int32": v}, nil
	case uint32:
		return typed{"uint32": v}, nil
	case float32:
		return number("float32", float64(v), 32)
	case float64:
		return number("float64", v, 64)
	case time.Time:
		return typed{"time": v.Unix()}, nil
	case rabbit.Decimal:
		return typed{"decimal": []int64{int64(v.Scale), int64(v.Value)}}, nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var err error
			if list[i], err = encodeHeader(v[i]); err != nil {
				return nil, err
			}
		}
		return typed{"list": list}, nil
	case map[string]any:
		return table(v)
	case rabbit.Table:
		return table(v)
	}
	return nil, leveret.Errorf(leveret.InvalidArgument, "a %T cannot travel in a header", value)
}

func number(kind string, v float64, bits int) (any, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, leveret.Errorf(leveret.InvalidArgument, "%v cannot travel in a header", v)
	}
	return typed{kind: strconv.FormatFloat(v, 'g', -1, bits)}, nil
}

func table(of map[string]any) (any, error) {
	t, err := encodeTable(of)
	return typed{"table": t}, err
}

func decodeHeaders(text json.RawMessage) (map[string]any, error) {
	var of map[string]json.RawMessage
	if len(text) == 0 {
		return map[string]any{}, nil
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, err
	}
	return decodeTable(of)
}

func decodeTable(of map[string]json.RawMessage) (rabbit.Table, error) {
	headers := make(rabbit.Table, len(of))
	for name, text := range of {
		value, err := decodeHeader(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		headers[name] = value
	}
	return headers, nil
}

func decodeHeader(text json.RawMessage) (any, error) {
	text = bytes.TrimSpace(text)
	if len(text) > 0 && text[0] == '{' {
		var of map[string]json.RawMessage
		if err := json.Unmarshal(text, &of); err != nil {
			return nil, err
		}
		if len(of) != 1 {
			return nil, fmt.Errorf("%d types", len(of))
		}
		for kind, value := range of {
			return decodeTyped(kind, value)
		}
	}
	var number int64
	if json.Unmarshal(text, &number) == nil && !bytes.Equal(text, []byte("null")) {
		return number, nil
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	switch value.(type) {
	case nil, bool, string:
		return value, nil
	}
	return nil, fmt.Errorf("%s is no header", text)
}

func decodeTyped(kind string, text json.RawMessage) (any, error) {
	switch kind {
	case "text":
		b, err := as[[]byte](text)
		return string(b), err
	case "bytes":
		return as[[]byte](text)
	case "int":
		return as[int](text)
	case "int8":
		return as[int8](text)
	case "uint8":
		return as[uint8](text)
	case "int16":
		return as[int16](text)
	case "uint16":
		return as[uint16](text)
	case "int32":
		return as[int32](text)
	case "uint32":
		return as[uint32](text)
	case "float32":
		f, err := float(text, 32)
		return float32(f), err
	case "float64":
		return float(text, 64)
	case "time":
		seconds, err := as[int64](text)
		return time.Unix(seconds, 0).UTC(), err
	case "decimal":
		d, err := as[[2]int64](text)
		return rabbit.Decimal{Scale: uint8(d[0]), Value: int32(d[1])}, err
	case "list":
		texts, err := as[[]json.RawMessage](text)
		if err != nil {
			return nil, err
		}
		list := make([]any, len(texts))
		for i := range texts {
			if list[i], err = decodeHeader(texts[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	case "table":
		of, err := as[map[string]json.RawMessage](text)
		if err != nil {
			return nil, err
		}
		return decodeTable(of)
	}
	return nil, fmt.Errorf("the type %q is not known", kind)
}

func as[T any](text json.RawMessage) (T, error) {
	var v T
	err := json.Unmarshal(text, &v)
	return v, err
}

func float(text json.RawMessage, bits int) (float64, error) {
	s, err := as[string](text)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(s, bits)
}
