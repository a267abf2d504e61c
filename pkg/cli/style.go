package cli

// A Paint is how a text is coloured where that is wanted. The zero value leaves it as it is.
type Paint string

// The paints.
const (
	Bold   Paint = "1"
	Dim    Paint = "2"
	Red    Paint = "31"
	Green  Paint = "32"
	Yellow Paint = "33"
)

// Paint colours a text for standard output, if that gets colour: see --color.
func (a *App) Paint(p Paint, text string) string { return a.out.paint(p, text) }

// PaintErr colours a text for standard error.
func (a *App) PaintErr(p Paint, text string) string { return a.err.paint(p, text) }

// A style colours text where that is wanted.
type style struct{ on bool }

// Values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// styleFor decides whether a stream gets colour: --color first, then NO_COLOR (see no-color.org) and TERM=dumb, then
// whether it is a terminal.
func styleFor(s *Streams, color string, terminal bool) style {
	switch color {
	case colorAlways:
		return style{true}
	case colorNever:
		return style{false}
	}
	return style{terminal && s.env("NO_COLOR") == "" && s.env("TERM") != "dumb"}
}

func (s style) paint(p Paint, text string) string {
	if !s.on || text == "" || p == "" {
		return text
	}
	return "\x1b[" + string(p) + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string   { return s.paint(Bold, text) }
func (s style) dim(text string) string    { return s.paint(Dim, text) }
func (s style) red(text string) string    { return s.paint(Red, text) }
func (s style) green(text string) string  { return s.paint(Green, text) }
func (s style) yellow(text string) string { return s.paint(Yellow, text) }
