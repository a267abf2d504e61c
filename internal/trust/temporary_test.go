package trust_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/trust"
)

func TestTemporary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	made, err := trust.Temporary("leveret-")
	require.NoError(t, err)
	require.Equal(t, dir, filepath.Dir(made))
	info, err := os.Stat(made)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())

	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	_, err = trust.Temporary("leveret-")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "no temporary folder can be made in "+dir+"/none; set TMPDIR to a folder that you may write to: ")
}
