//go:build postgres

package pgtest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
)

// asOwner makes the test binary start a server, print its folder and URL, and wait to be killed.
const asOwner = "LEVERET_TEST_PGTEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(asOwner) == "" {
		testmain.Leaks(m)
	}
	s, err := Start(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Dir(), s.URL("postgres"))
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
}

// A server ends with its owner, although that is killed, and leaves no file.
func TestOwnerIsKilled(t *testing.T) {
	t.Parallel()
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), asOwner+"=1")
	_, err := owner.StdinPipe()
	require.NoError(t, err)
	said, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	dir, url, _ := strings.Cut(strings.TrimSpace(line), " ")
	require.DirExists(t, dir)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.PingContext(t.Context()))
	require.NoError(t, owner.Process.Kill())
	require.ErrorContains(t, owner.Wait(), "killed")
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && db.PingContext(t.Context()) != nil
	}, patience, 20*time.Millisecond)
}

// A server that is killed comes back with what was committed.
func TestKill(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context())
	require.NoError(t, err)
	db, err := sql.Open("pgx", s.URL("postgres"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "CREATE TABLE kept (n BIGINT)")
	require.NoError(t, err)
	require.NoError(t, s.Kill())
	require.Eventually(t, func() bool {
		return db.QueryRowContext(t.Context(), "SELECT count(*) FROM kept").Scan(new(int)) == nil
	}, patience, 20*time.Millisecond)
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool {
		_, err := os.Stat(s.Dir())
		return os.IsNotExist(err)
	}, patience, 20*time.Millisecond)
}
