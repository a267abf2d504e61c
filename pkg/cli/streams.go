package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are what a command reads and writes. Data goes to Out, all else to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// InTerminal, OutTerminal and ErrTerminal say whether a person is at the other end.
	InTerminal, OutTerminal, ErrTerminal bool
	// Width returns the width of Out's terminal; 0 where that is not known. Nil means not known.
	Width func() int
	// Height is Width for its lines.
	Height func() int
	// Env returns a variable of the environment. Nil means an empty environment.
	Env func(name string) string
}

// SystemStreams returns those of the process.
func SystemStreams() *Streams {
	return &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: isTerminal(os.Stdin), OutTerminal: isTerminal(os.Stdout), ErrTerminal: isTerminal(os.Stderr),
		Width: func() int {
			width, _ := terminalSize(os.Stdout)
			return width
		},
		Height: func() int {
			_, height := terminalSize(os.Stdout)
			return height
		},
		Env: os.Getenv,
	}
}

func terminalSize(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func (s *Streams) env(name string) string {
	if s.Env == nil {
		return ""
	}
	return s.Env(name)
}

// interactive tells whether progress may be drawn on Err.
func (s *Streams) interactive() bool { return s.ErrTerminal && s.env("TERM") != "dumb" }

func (s *Streams) width() int {
	if s.Width == nil || !s.OutTerminal {
		return 0
	}
	return s.Width()
}

func (s *Streams) height() int {
	if s.Height == nil || !s.OutTerminal {
		return 0
	}
	return s.Height()
}
