package trust

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// A Fresh is a value that is made from files, and made again when they change. It is safe for concurrent use.
type Fresh[T any] struct {
	name  string
	files []string
	read  func() (T, slog.Attr, error)

	mu    sync.Mutex
	value T
	about slog.Attr
	seen  []os.FileInfo // the files as they were last read
}

// NewFresh reads a value. Its name is for the log, such as "certificate", and so is the attribute that read returns,
// which may be empty. What is no regular file, such as a pipe, is read only this once.
func NewFresh[T any](name string, read func() (T, slog.Attr, error), files ...string) (*Fresh[T], error) {
	f := &Fresh[T]{name: name, files: files, read: read}
	f.seen = f.stat()
	var err error
	f.value, f.about, err = read()
	return f, err
}

// Get returns the value, read again if its files have changed. If they cannot be used, it returns the value before: they
// may be in the middle of their replacement. Either is logged, once for each change.
func (f *Fresh[T]) Get(log *slog.Logger) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.stat()
	if slices.EqualFunc(now, f.seen, same) {
		return f.value
	}
	f.seen = now // before reading, so that a change meanwhile is the next one
	value, about, err := f.read()
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelWarn, "cannot read the "+f.name+" again; using the one before", slog.Any("error", err), f.about)
		return f.value
	}
	f.value, f.about = value, about
	log.LogAttrs(context.Background(), slog.LevelInfo, f.name+" read again", slog.String("file", f.files[0]), f.about)
	return f.value
}

func (f *Fresh[T]) stat() []os.FileInfo {
	all := make([]os.FileInfo, len(f.files)) // nil for what is not there, or is no regular file
	for i, path := range f.files {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			all[i] = info
		}
	}
	return all
}

// same reports whether a file has not changed.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
