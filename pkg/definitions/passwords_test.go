package definitions_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/definitions"
)

func TestPasswordsAreMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "passwords")
	password := definitions.Passwords(dir)
	first, err := password("order")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(first), 26)
	again, err := definitions.Passwords(dir)("order")
	require.NoError(t, err)
	require.Equal(t, first, again)
	other, err := password("payment")
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	file := filepath.Join(dir, "order", definitions.PasswordFile)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, first+"\n", string(text))
	for _, path := range []string{file, filepath.Dir(file)} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left")

	require.NoError(t, os.WriteFile(file, []byte("chosen by a person\r\n"), 0o600))
	chosen, err := password("order")
	require.NoError(t, err)
	require.Equal(t, "chosen by a person", chosen)
	require.NoError(t, os.WriteFile(file, []byte("\n"), 0o600))
	_, err = password("order")
	require.ErrorContains(t, err, "is empty")
}

// A password that somebody else may have written, or has put in the way, is none.
func TestPasswordsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := definitions.Passwords(dir)
	_, err := password("order")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Join(dir, "order", definitions.PasswordFile), 0o666))
	_, err = password("order")
	require.ErrorContains(t, err, "everyone may")
	_, err = password("payment")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Join(dir, "payment"), 0o777))
	_, err = password("payment")
	require.Error(t, err)
	for _, user := range []string{"../order", "a/b", ""} {
		_, err = password(user)
		require.Error(t, err, user)
	}
}
