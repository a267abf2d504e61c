package devbroker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/debs"
	"github.com/leveretmq/leveret/internal/trust"
)

// The programs in the cache folder are run, so nobody else may have put them there, wherever the folder is.
func TestCacheFolderIsThisUsers(t *testing.T) {
	cache, temp := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache) // for macOS
	t.Setenv("TMPDIR", temp)
	folder, err := debs.Cache()
	require.NoError(t, err)
	requireMode := func(folder string, mode os.FileMode) {
		info, err := os.Stat(folder)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
	}
	requireMode(folder, 0o700)
	a, err := newApt(Config{})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(a.Folder, 0o700))
	require.NoError(t, os.Chmod(a.Folder, 0o702))
	_, err = newApt(Config{})
	require.ErrorContains(t, err, a.Folder+" is not to be trusted: others may write to it")

	require.NoError(t, os.Chmod(folder, 0o777))
	_, err = debs.Cache()
	require.ErrorContains(t, err, "the cache folder: the folder "+folder+" is not to be trusted: others may write to it (mode 0777)")
	require.ErrorIs(t, err, trust.ErrUntrusted)

	// Without a cache folder it is one in the temporary folder, under a name that others can guess.
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.WriteFile(folder, nil, 0o600))
	fallback := filepath.Join(temp, fmt.Sprintf("leveret-cache-%d", os.Geteuid()))
	folder, err = debs.Cache()
	require.NoError(t, err)
	require.Equal(t, fallback, folder)
	requireMode(folder, 0o700)
	require.NoError(t, os.Chmod(folder, 0o770))
	_, err = debs.Cache()
	require.ErrorContains(t, err, fallback+" is not to be trusted: others may write to it (mode 0770)")
	if os.Geteuid() != 0 {
		t.Log("not root: no folder of another user can be made")
		return
	}
	require.NoError(t, os.Chmod(folder, 0o700))
	require.NoError(t, os.Chown(folder, 65531, 65531))
	_, err = debs.Cache()
	require.ErrorIs(t, err, trust.ErrOwner)
	_, err = makeFolder(Config{Dir: folder})
	require.ErrorContains(t, err, folder+" belongs to another user")
}
