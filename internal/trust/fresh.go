package trust

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// A Fresh is a value that is made from files, and made again when their content changes. It is safe for concurrent use.
type Fresh[T any] struct {
	name  string
	files []string
	read  func() (T, slog.Attr, error)

	mu     sync.Mutex
	value  T
	about  slog.Attr
	seen   [][sha256.Size]byte // the files when the value was made
	failed string              // why it could not be made again; empty if it could
}

// NewFresh reads a value. Its name is for the log, such as "certificate", and so is the attribute that read returns,
// which may be empty. What is no regular file, such as a pipe, is read only this once.
func NewFresh[T any](name string, read func() (T, slog.Attr, error), files ...string) (*Fresh[T], error) {
	f := &Fresh[T]{name: name, files: files, read: read}
	f.seen = f.content()
	var err error
	f.value, f.about, err = read()
	return f, err
}

// Get returns the value, made again if its files have changed. While they cannot be used, it returns the value before:
// they may be in the middle of their replacement, or wait for their owner to be changed. Either is logged once.
func (f *Fresh[T]) Get(log *slog.Logger) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.content() // before making the value, so that a change meanwhile is the next one
	if slices.Equal(now, f.seen) {
		f.failed = ""
		return f.value
	}
	value, about, err := f.read()
	if err != nil {
		if text := err.Error(); text != f.failed {
			f.failed = text
			log.LogAttrs(context.Background(), slog.LevelWarn, "cannot read the "+f.name+" again; using the one before", slog.Any("error", err), f.about)
		}
		return f.value
	}
	f.value, f.about, f.seen, f.failed = value, about, now, ""
	log.LogAttrs(context.Background(), slog.LevelInfo, f.name+" read again", slog.String("file", f.files[0]), f.about)
	return f.value
}

// content returns a digest of each file; zero for what cannot be read, or is no regular file. Size and time would say
// nothing of a file that is written twice in a moment, or with the time of another.
func (f *Fresh[T]) content() [][sha256.Size]byte {
	all := make([][sha256.Size]byte, len(f.files))
	for i, path := range f.files {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxSize {
			continue
		}
		if content, err := os.ReadFile(path); err == nil {
			all[i] = sha256.Sum256(content)
		}
	}
	return all
}
