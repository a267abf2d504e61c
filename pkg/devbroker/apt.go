package devbroker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/leveretmq/leveret/internal/debs"
	"github.com/leveretmq/leveret/internal/trust"
)

// apt is RabbitMQ and Erlang from Debian's packages, unpacked into a folder of the user.
type apt struct{ debs.Packages }

// newApt finds the folder for the packages: in the user's cache folder or, if that
// is not writable, in the temporary folder.
func newApt(cfg Config) (apt, error) {
	base, err := debs.Cache()
	if err != nil {
		return apt{}, err
	}
	folder := filepath.Join(base, "rabbitmq-"+debs.Distribution()+"-"+runtime.GOARCH)
	a := apt{}
	a.Packages = debs.Packages{
		Name: "RabbitMQ and Erlang", Package: "rabbitmq-server", Say: cfg.say,
		Folder: folder,
		// Erlang, too, so that a matching release is fetched.
		Missing: func(name string) bool { return strings.HasPrefix(name, "erlang-") || name == "rabbitmq-server" },
		Accept: func(version string) error {
			if tooOld(version) {
				return fmt.Errorf("apt offers rabbitmq-server %s, but 3.10 or later is required", version)
			}
			return nil
		},
		Correct: func(root string) error { return correct(root, folder) },
		Complete: func() bool {
			_, err := toolsIn(a.bin())
			return err == nil
		},
	}
	if _, err := os.Lstat(a.Folder); err == nil {
		return a, trust.Folder(a.Folder)
	}
	return a, nil
}

func (a apt) bin() string { return filepath.Join(a.Folder, "usr/lib/rabbitmq/bin") }

// unpacked returns the packages if they have been unpacked before.
func (a apt) unpacked() (Source, bool) {
	if !a.Complete() {
		return Source{}, false
	}
	env := []string{"PATH=" + filepath.Join(a.Folder, "usr/bin") + ":" + os.Getenv("PATH")}
	if libraries := a.Libraries(); libraries != "" {
		env = append(env, libraries)
	}
	return Source{Kind: Packages, Path: a.bin(), env: env}, true
}

// fetch downloads and unpacks the packages unless that was done before.
func (a apt) fetch(ctx context.Context) (Source, error) {
	err := a.Fetch(ctx)
	s, _ := a.unpacked()
	return s, err
}

// correct replaces the hard-coded path /usr/lib/erlang in Debian's Erlang scripts by
// the path in the folder to which root will be moved.
func correct(root, folder string) error {
	erlang := filepath.Join(root, "usr/lib/erlang")
	scripts, _ := filepath.Glob(filepath.Join(erlang, "bin/*"))
	more, _ := filepath.Glob(filepath.Join(erlang, "erts-*/bin/*"))
	there := []byte(filepath.Join(folder, "usr/lib/erlang"))
	for _, script := range append(scripts, more...) {
		info, err := os.Lstat(script)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		text, err := os.ReadFile(script)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(text, []byte("#!")) || !bytes.Contains(text, []byte("/usr/lib/erlang")) {
			continue
		}
		if err := os.WriteFile(script, bytes.ReplaceAll(text, []byte("/usr/lib/erlang"), there), info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
