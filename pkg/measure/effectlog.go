package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// An EffectLog is a file in which a process records what it does, a line for each effect. A line is written at once,
// so the record survives the end of the process, even by SIGKILL, though not that of the machine. Several processes may
// write into one file. It is safe for concurrent use.
type EffectLog struct{ file *os.File }

// OpenEffectLog opens a file, or makes it.
func OpenEffectLog(path string) (*EffectLog, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &EffectLog{file}, nil
}

// Record records that the operation with this id has just been done. The id has no line breaks.
func (l *EffectLog) Record(id string) error {
	line := make([]byte, 0, 64)
	line = strconv.AppendInt(line, time.Now().UnixNano(), 10)
	line = append(line, ' ')
	line = append(line, id...)
	_, err := l.file.Write(append(line, '\n')) // a single write: lines do not mix
	return err
}

// Close closes the file.
func (l *EffectLog) Close() error { return l.file.Close() }

// An EffectReader reads what was written to [EffectLog]s.
type EffectReader struct {
	pattern string
	read    map[string]int64 // how much of each file
}

// NewEffectReader reads all files that a pattern of filepath.Glob matches, also those that come later.
func NewEffectReader(pattern string) *EffectReader {
	return &EffectReader{pattern: pattern, read: make(map[string]int64)}
}

// Effects returns the effects that were recorded since the last time. It is not safe for concurrent use.
func (r *EffectReader) Effects(ctx context.Context) ([]Effect, error) {
	files, err := filepath.Glob(r.pattern)
	if err != nil {
		return nil, err
	}
	var all []Effect
	for _, path := range files {
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if all, err = r.effects(path, all); err != nil {
			return all, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}

// effects adds those of one file. A line that is not complete is left for the next time.
func (r *EffectReader) effects(path string, all []Effect) ([]Effect, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	defer file.Close()
	if _, err := file.Seek(r.read[path], io.SeekStart); err != nil {
		return all, err
	}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		at, id, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		nanoseconds, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return all, fmt.Errorf("not an effect: %q", line)
		}
		r.read[path] += int64(len(line))
		all = append(all, Effect{ID: id, At: time.Unix(0, nanoseconds)})
	}
}
