package term

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are what a command reads and writes. Data goes to Out, everything else to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// InTerminal, OutTerminal and ErrTerminal report whether the stream is a terminal.
	InTerminal, OutTerminal, ErrTerminal bool
	// Size returns the size of Out's terminal in characters, 0 for what is unknown. Nil means unknown.
	Size func() (width, height int)
	// Env returns a variable of the environment. Nil means an empty environment.
	Env func(name string) string

	key string // of a guard; see Guarded
}

// System returns the streams of the process.
func System() *Streams { return Of(os.Stdin, os.Stdout, os.Stderr) }

// Of returns these streams, of which files may be terminals, with the environment of the process.
func Of(in io.Reader, out, err io.Writer) *Streams {
	return &Streams{
		In: in, Out: out, Err: err,
		InTerminal: isTerminal(in), OutTerminal: isTerminal(out), ErrTerminal: isTerminal(err),
		Size: func() (width, height int) { return terminalSize(out) },
		Env:  os.Getenv,
	}
}

func terminalSize(out any) (width, height int) {
	f, ok := out.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Getenv returns a variable of the environment.
func (s *Streams) Getenv(name string) string {
	if s.Env == nil {
		return ""
	}
	return s.Env(name)
}

// ErrInteractive reports whether a progress bar may be drawn on Err.
func (s *Streams) ErrInteractive() bool { return s.ErrTerminal && s.Getenv("TERM") != "dumb" }

// OutInteractive reports whether a screen may be drawn on Out.
func (s *Streams) OutInteractive() bool { return s.OutTerminal && s.Getenv("TERM") != "dumb" }

// Width returns the width of Out's terminal; 0 if it is unknown, or Out is none.
func (s *Streams) Width() int {
	width, _ := s.size()
	return width
}

// Height returns the height of Out's terminal; 0 if it is unknown, or Out is none.
func (s *Streams) Height() int {
	_, height := s.size()
	return height
}

func (s *Streams) size() (width, height int) {
	if s.Size == nil || !s.OutTerminal {
		return 0, 0
	}
	return s.Size()
}
