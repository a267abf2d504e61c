package shopcli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// startLogged starts a service that logs to its file.
func startLogged(s *system, name string) (*process, error) {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := fmt.Fprintln(log, startMark); err != nil {
		return nil, err
	}
	return startProcess(s, name, log)
}

// startMark separates the processes that log to the same file one after another.
const startMark = "--- started ---"

// awaitReady waits until a service logs that it is ready.
func awaitReady(ctx context.Context, s *system, p *process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not ready after two minutes"))
	defer cancel()
	err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		if ready, err := saidReady(s.logFile(p.name)); ready || err != nil {
			return ready, err
		}
		if !p.running() {
			return false, reasonOf(p.err)
		}
		return false, nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%sd does not start: %w\n%s", p.name, err, lastLines(s.logFile(p.name)))
	}
	return err
}

// reasonOf returns why a process ended unexpectedly. err is nil if it exited with 0.
func reasonOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// saidReady reports whether a log contains the record "ready" after the last start.
func saidReady(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	ready := false
	lines := bufio.NewReader(f)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return ready, nil
		}
		if err != nil {
			return false, err
		}
		var record struct {
			Msg string `json:"msg"`
		}
		switch {
		case strings.TrimSpace(string(text)) == startMark:
			ready = false
		case json.Unmarshal(text, &record) == nil && record.Msg == "ready":
			ready = true
		}
	}
}

// lastLines returns the last lines of a log.
func lastLines(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
