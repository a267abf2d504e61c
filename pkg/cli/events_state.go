package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/leveretmq/leveret/internal/flock"
)

// replayState is what a replay of kept events keeps in a file, so that the same command goes on where it was killed.
type replayState struct {
	replayFlags

	// Until is the offset of the last event to read.
	Until int64 `json:"until_offset"`
	// First is the first event to read.
	First *replayedEvent `json:"first,omitempty"`
	// Last is the event up to which all is done; nil before the first.
	Last *replayedEvent `json:"done,omitempty"`
	replayCounts
	// Running says that the copies behind Last are not counted.
	Running bool `json:"running"`
}

// replayFlags are what makes a replay another one.
type replayFlags struct {
	Broker        string `json:"broker"`
	VirtualHost   string `json:"virtual_host"`
	Stream        string `json:"stream"`
	Queue         string `json:"queue"`
	From          string `json:"from"`
	To            string `json:"until,omitempty"`
	Where         string `json:"where,omitempty"`
	Limit         int    `json:"limit,omitempty"`
	NewSubscriber bool   `json:"new_subscriber,omitempty"`
}

// replayedEvent is an event in a stream.
type replayedEvent struct {
	Offset int64  `json:"offset"`
	ID     string `json:"id"`
}

// replayCounts count what a replay did, over all its runs.
type replayCounts struct {
	Read    int `json:"read"`
	Matched int `json:"matched"`
	Copied  int `json:"copied"`
	Unsure  int `json:"unsure"` // that may be in the queue once more, at most
	Skipped int `json:"skipped"`
}

// differs names the flag in which two replays differ; "" if they are the same.
func (f replayFlags) differs(other replayFlags) string {
	switch {
	case f.Broker != other.Broker:
		return "the broker"
	case f.VirtualHost != other.VirtualHost:
		return "the virtual host"
	case f.Stream != other.Stream:
		return "the event"
	case f.Queue != other.Queue:
		return "--to or --as"
	case f.From != other.From:
		return "--from"
	case f.To != other.To:
		return "--until"
	case f.Where != other.Where:
		return "--where"
	case f.Limit != other.Limit:
		return "--limit"
	case f.NewSubscriber != other.NewSubscriber:
		return "--new-subscriber"
	default:
		return ""
	}
}

// A stateFile is the file of a replayState.
type stateFile struct {
	path   string
	unlock func() // removes the lock as well
}

// lockWait is how long another process may hold a state file: for the moment in which it ends.
const lockWait = 200 * time.Millisecond

// openState locks a state file.
func openState(ctx context.Context, path string) (*stateFile, error) {
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := flock.Lock(waiting, path+".lock")
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return &stateFile{path, func() {}}, nil
	case err == nil:
		return &stateFile{path, func() { _ = os.Remove(path + ".lock"); unlock() }}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, Fail(ExitError, "wait until it has ended, or name another file with --state", "another replay is running with the state file %s", path)
	default:
		return nil, unwritable(err)
	}
}

func unwritable(err error) error {
	return Fail(ExitError, "name a file that can be written, with --state", "the state of the replay cannot be kept: %w", err)
}

// read returns the state in the file; nil if there is no file.
func (f *stateFile) read() (*replayState, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, unwritable(err)
	}
	s := &replayState{}
	err = json.Unmarshal(text, s)
	if err == nil && (s.Stream == "" || s.Queue == "") {
		err = errors.New("it names no stream, or no queue")
	}
	if err != nil {
		return nil, Fail(ExitError, "remove it to begin again at --from: what was copied is then copied again; or name another file with --state",
			"the state file %s is damaged: %w", f.path, err)
	}
	return s, nil
}

// write replaces the file, so that whoever reads it finds the old state or the new one.
func (f *stateFile) write(s replayState) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	next := f.path + ".new" // no other process writes it
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return unwritable(err)
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(next, f.path)
	}
	if err != nil {
		return unwritable(errors.Join(err, os.Remove(next)))
	}
	if folder, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = folder.Sync() // not every system can
		_ = folder.Close()
	}
	return nil
}

// close ends the use of the file; without a state that somebody could go on with, it is removed.
func (f *stateFile) close(remove bool) error {
	var err error
	if remove {
		if err = os.Remove(f.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	f.unlock()
	return err
}

// isOf checks that a state is that of a replay with these flags.
func (f *stateFile) isOf(s *replayState, flags replayFlags) error {
	what := flags.differs(s.replayFlags)
	if what == "" {
		return nil
	}
	return usage(fmt.Sprintf("run that one to its end; or remove %s to begin this one; or name another file with --state", f.path),
		"the state file %s is that of another replay: %s differs", f.path, what)
}

func replaced(path string, err error) error {
	return Fail(ExitError, fmt.Sprintf("remove %s to begin again at --from, in the stream that there is now; in a cluster, try again first: "+
		"a node may be behind", path), "%w", err)
}
