package trust_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/trust"
)

// fresh returns a value that is what a file says.
func fresh(t *testing.T, path string) *trust.Fresh[string] {
	t.Helper()
	f, err := trust.NewFresh("word", func() (string, slog.Attr, error) {
		text, err := os.ReadFile(path)
		if string(text) == "bad" {
			err = errors.New("a bad word")
		}
		return string(text), slog.Attr{}, err
	}, path)
	require.NoError(t, err)
	return f
}

func TestFreshIsWhatTheFileSays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "word")
	at := time.Now().Add(-time.Hour)
	put := func(word string) { // as fast as a clock ticks, or with the time of the file before
		require.NoError(t, os.WriteFile(path, []byte(word), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	put("one")
	f := fresh(t, path)
	log := slog.New(slog.DiscardHandler)
	require.Equal(t, "one", f.Get(log))
	put("two")
	require.Equal(t, "two", f.Get(log))
	put("bad")
	require.Equal(t, "two", f.Get(log))
	put("six")
	require.Equal(t, "six", f.Get(log))
}

// A file that could not be read for another reason than its content is read as soon as it can be.
func TestFreshTriesAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "word")
	require.NoError(t, os.WriteFile(path, []byte("one"), 0o600))
	forbidden := false
	f, err := trust.NewFresh("word", func() (string, slog.Attr, error) {
		if forbidden {
			return "", slog.Attr{}, os.ErrPermission
		}
		text, err := os.ReadFile(path)
		return string(text), slog.Attr{}, err
	}, path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("two"), 0o600))
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	forbidden = true // its owner is not yet this user
	require.Equal(t, "one", f.Get(log))
	require.Equal(t, "one", f.Get(log))
	forbidden = false
	require.Equal(t, "two", f.Get(log))
	require.Equal(t, "two", f.Get(log))
	require.Equal(t, 1, strings.Count(logged.String(), "cannot read the word again"))
	require.Equal(t, 1, strings.Count(logged.String(), "word read again"))
}

// Kubernetes mounts a secret as links to a folder that it replaces by renaming a link.
func TestFreshThroughLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name, word string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "word"), []byte(word), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", "one")
	path := filepath.Join(dir, "word")
	require.NoError(t, os.Symlink(filepath.Join("..data", "word"), path))
	f := fresh(t, path)
	log := slog.New(slog.DiscardHandler)
	require.Equal(t, "one", f.Get(log))
	version("..2", "two")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
	require.Equal(t, "two", f.Get(log))
}
