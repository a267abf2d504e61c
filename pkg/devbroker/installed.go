package devbroker

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// installFolders are the usual folders of the scripts that run as the calling user.
// (The scripts in /usr/sbin on Debian and Red Hat switch to the user rabbitmq.)
var installFolders = []string{
	"/usr/lib/rabbitmq/bin",                            // Debian, Ubuntu, RPM
	"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",     // RPM
	"/opt/homebrew/opt/rabbitmq/sbin",                  // Homebrew on Apple silicon
	"/usr/local/opt/rabbitmq/sbin",                     // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin",     // Homebrew on Linux
	"/usr/local/lib/rabbitmq_server-*/sbin",            // the generic archive
	"/opt/rabbitmq/sbin",                               // the generic archive, official image
	"/opt/rabbitmq_server-*/sbin",                      // the generic archive
	"/usr/local/lib/erlang/lib/rabbitmq_server-*/sbin", // FreeBSD
}

// toolsIn checks the folder named by LEVERET_RABBITMQ_BIN or Config.Bin.
func toolsIn(folder string) (Source, error) {
	for _, tool := range []string{"rabbitmq-server", "rabbitmqctl"} {
		if err := runnable(filepath.Join(folder, tool)); err != nil {
			return Source{}, fmt.Errorf("%s (or Config.Bin) must name a folder that contains rabbitmq-server and rabbitmqctl: %w; "+
				"to use an installed RabbitMQ instead: unset %s", EnvBin, err, EnvBin)
		}
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return Source{}, fmt.Errorf("%s: %w", EnvBin, err)
	}
	return Source{Kind: Tools, Path: absolute}, nil
}

func runnable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	return nil
}

// installed looks for RabbitMQ in the usual folders and in PATH.
func installed() (Source, error) {
	problem := fmt.Errorf("%s: none in the usual folders or in PATH", Installed)
	var folders []string
	for _, pattern := range installFolders {
		found, _ := filepath.Glob(pattern)
		slices.Reverse(found) // the newest first
		folders = append(folders, found...)
	}
	if found, err := exec.LookPath("rabbitmq-server"); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil && !changesUser(found) {
			folders = append(folders, filepath.Dir(found))
		}
	}
	for _, folder := range folders {
		s, err := toolsIn(folder)
		if err != nil {
			continue
		}
		if version := versionIn(s.Path); tooOld(version) {
			problem = fmt.Errorf("%s: %s contains RabbitMQ %s, but 3.10 or later is required", Installed, s.Path, version)
			continue
		}
		return Source{Kind: Installed, Path: s.Path}, nil
	}
	return Source{}, problem
}

// versionIn returns the version in the real path of the scripts,
// …/rabbitmq_server-3.10.8/sbin, or "" if there is none.
func versionIn(folder string) string {
	script, err := filepath.EvalSymlinks(filepath.Join(folder, "rabbitmq-server"))
	if err != nil {
		return ""
	}
	_, version, _ := strings.Cut(filepath.Base(filepath.Dir(filepath.Dir(script))), "rabbitmq_server-")
	return version
}

// changesUser reports whether a script is one of Debian's or Red Hat's wrappers.
func changesUser(script string) bool {
	text, err := os.ReadFile(script)
	return err != nil || bytes.Contains(text, []byte("su rabbitmq")) || bytes.Contains(text, []byte("runuser")) || bytes.Contains(text, []byte("setpriv"))
}
