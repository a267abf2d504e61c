//go:build postgres

package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// patience is how long a server may take to start on a busy machine.
const patience = 2 * time.Minute

// nobody is the user that a server runs as where this one is root, as whom PostgreSQL refuses to run.
const nobody = 65534

//go:embed guardian.sh
var guardian string

// A Server is a running PostgreSQL. Its text is sorted by the rules of a language, unless a column says otherwise, so that
// what forgets to say so differs from SQLite.
type Server struct {
	dir, password string
	port          int
	owner         *os.File // the server ends when this is closed
}

// Start starts a server, and waits until it answers.
func Start(ctx context.Context) (*Server, error) {
	bin, libraries, err := find(ctx) // which may take the time of a download
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := &Server{password: rand.Text()}
	if s.port, err = freePort(ctx); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if err := s.launch(bin, libraries); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if err := s.await(ctx); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return nil, errors.Join(fmt.Errorf("pgtest: %w; its log:\n%s", err, log), s.Close())
	}
	return s, nil
}

// launch starts the guardian, which starts the server.
func (s *Server) launch(bin, libraries string) (err error) {
	if s.dir, err = os.MkdirTemp("/tmp", "pgtest-"); err != nil { // short, for the path of a socket
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "password"), []byte(s.password), 0o600); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	read, write, err := os.Pipe()
	if err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	defer read.Close()
	cmd := exec.Command("sh", "-c", guardian) //nolint:noctx // it outlives this process, to clean up after it
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "BIN="+bin, "DIR="+s.dir, "PORT="+strconv.Itoa(s.port))
	if libraries != "" {
		cmd.Env = append(cmd.Env, libraries)
	}
	cmd.Stdin = read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that Ctrl-C does not reach it
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		err = errors.Join(os.Chown(s.dir, nobody, nobody), os.Chown(filepath.Join(s.dir, "password"), nobody, nobody))
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return errors.Join(err, write.Close(), os.RemoveAll(s.dir))
	}
	s.owner = write
	return cmd.Process.Release()
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) (err error) {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		if _, gone := os.Stat(filepath.Join(s.dir, "over")); gone == nil {
			return errors.New("it does not start")
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// URL returns the URL of a database for the superuser. It contains the password.
func (s *Server) URL(database string) string { return s.UserURL("postgres", s.password, database) }

// UserURL returns the URL of a database for a user.
func (s *Server) UserURL(user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Kill ends the server's first process with SIGKILL, on which the others end. The server is started again at once, with
// what was committed.
func (s *Server) Kill() error {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// Close lets the server end, which removes its folder.
func (s *Server) Close() error { return s.owner.Close() }

// Dir returns the server's folder.
func (s *Server) Dir() string { return s.dir }

// given are the ports that this process has given to servers, which need not listen yet, or be down.
var given sync.Map

// freePort returns a port below those that Linux uses for outgoing connections, one of which could take it while the
// server is down.
func freePort(ctx context.Context) (int, error) {
	for range 200 {
		port := 16000 + mathrand.IntN(4000) // 15672 and its neighbours are RabbitMQ's
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 16000 and 20000 on 127.0.0.1")
}
