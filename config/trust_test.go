//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

func chmod(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// Another user who writes the file chooses the broker to which this one sends its messages and passwords.
func TestFileOfEveryoneIsRefused(t *testing.T) {
	t.Parallel()
	path := chmod(t, write(t, "broker:\n  url: amqp://elsewhere/\n"), 0o646)
	load := func() error {
		_, err := config.New().Load(nil, config.Options{File: path})
		return err
	}
	require.ErrorContains(t, load(), path+" is not to be trusted: everyone may write to it (mode 0646); to keep others out: chmod o-w "+path)
	chmod(t, path, 0o664)
	require.NoError(t, load())
	folder := chmod(t, filepath.Dir(path), 0o777)
	require.ErrorContains(t, load(), "the folder "+folder+" is not to be trusted: everyone may replace the files in it")
}

// The file that is found has to be trusted like the one that is named: in /tmp it may be anybody's.
func TestFoundFileOfEveryoneIsRefused(t *testing.T) {
	path := chmod(t, write(t, "log:\n  level: debug\n"), 0o666)
	t.Chdir(filepath.Dir(path))
	_, err := config.New().Load(nil, config.Options{})
	require.ErrorContains(t, err, "leveret.yaml is not to be trusted: everyone may write to it")
}

// Where there is no file, the folder does not matter.
func TestNoFileInAFolderOfEveryone(t *testing.T) {
	t.Chdir(chmod(t, t.TempDir(), 0o777))
	_, err := config.New().Load(nil, config.Options{})
	require.NoError(t, err)
}

func TestOwnerOfTheFile(t *testing.T) {
	path := write(t, "log:\n  level: debug\n")
	load := func() error {
		_, err := config.New().Load(nil, config.Options{File: path})
		return err
	}
	t.Setenv(config.EnvOwner, "somebody")
	require.ErrorContains(t, load(), `LEVERET_CONFIG_OWNER: "somebody" is not the number of a user`)
	t.Setenv(config.EnvOwner, "65531")
	require.NoError(t, load(), "this user's own file is still good")
	if os.Geteuid() != 0 {
		t.Log("not root: no file of another user can be made")
		return
	}
	require.NoError(t, os.Chown(path, 65531, 65531))
	require.NoError(t, load())
	for _, other := range []string{"", "65532"} {
		t.Setenv(config.EnvOwner, other)
		require.ErrorContains(t, load(), path+" is not to be trusted: it belongs to another user (uid 65531; this user is 0); "+
			"if that user may decide what this program does, set LEVERET_CONFIG_OWNER to the number of the user, otherwise give the file to this user or to root")
	}
}

// A secret, an authority or a key that everyone may write to is anybody's.
func TestFilesNamedByTheSettings(t *testing.T) {
	t.Parallel()
	file := chmod(t, write(t, "hunter2\n"), 0o646)
	_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"broker.password_file": file}})
	require.ErrorContains(t, err, "broker.password_file: "+file+" is not to be trusted")
	for _, tls := range []config.TLS{{CAFile: file}, {CertFile: file, KeyFile: file}} {
		_, err = tls.ClientConfig()
		require.ErrorContains(t, err, file+" is not to be trusted")
	}
}
