package term

// A Paint is how a text is coloured where colour is wanted. The zero value leaves the text plain.
type Paint string

// The paints.
const (
	Bold   Paint = "1"
	Dim    Paint = "2"
	Red    Paint = "31"
	Green  Paint = "32"
	Yellow Paint = "33"
)

// A Style colours the text of one stream, or does not. The zero value does not.
type Style struct {
	on  bool
	key string // of a guard; see Streams.Guarded
}

// Values of a --color flag.
const (
	ColorAuto   = "auto"
	ColorAlways = "always"
	ColorNever  = "never"
)

// StyleFor decides whether a stream gets colour: color first, then NO_COLOR (see no-color.org) and TERM=dumb, then
// whether the stream is a terminal.
func StyleFor(s *Streams, color string, terminal bool) Style {
	switch color {
	case ColorAlways:
		return Style{true, s.key}
	case ColorNever:
		return Style{}
	}
	return Style{terminal && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb", s.key}
}

// Paint colours a text.
func (s Style) Paint(p Paint, text string) string {
	if !s.on || text == "" || p == "" {
		return text
	}
	return control(s.key, "["+string(p)+"m") + text + control(s.key, "[0m")
}
