package httprpc

import "net/http"

// canonical returns the name of a header as [http.Header] has it, for the names of package rpc and of the W3C's trace:
// most are so already, and to find that out anew would cost some time.
func canonical(name string) string {
	switch name {
	case "traceparent":
		return "Traceparent"
	case "tracestate":
		return "Tracestate"
	case "baggage":
		return "Baggage"
	default:
		return name
	}
}

// get returns a function that reads metadata.
func get(h http.Header) func(name string) string {
	return func(name string) string {
		if values := h[canonical(name)]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
}

// set returns a function that writes metadata. Few values share one piece of memory.
func set(h http.Header) func(name, value string) {
	values := make([]string, 0, 4)
	return func(name, value string) {
		values = append(values, value)
		n := len(values)
		h[canonical(name)] = values[n-1 : n : n]
	}
}

// Values of headers that are always the same. Nobody changes them.
var (
	jsonType  = []string{contentTypeJSON}
	userAgent = []string{"leveret"}
	noStore   = []string{"no-store"}
)
