//go:build postgres

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/leveretmq/leveret/internal/debs"
	"github.com/leveretmq/leveret/internal/trust"
)

// envUnpack makes find unpack Debian's packages, although PostgreSQL is installed.
const envUnpack = "LEVERET_TEST_UNPACK_POSTGRES"

// find returns the folder of PostgreSQL's programs, and the variable that they need to find their libraries, if any.
func find(ctx context.Context) (bin, libraries string, err error) {
	installed, err := filepath.Glob("/usr/lib/postgresql/1[5-9]/bin/postgres") // older ones lack options of initdb
	if err == nil && len(installed) > 0 && os.Getenv(envUnpack) == "" {
		return filepath.Dir(installed[len(installed)-1]), "", nil
	}
	if !debs.HasApt() {
		return "", "", errors.New("no PostgreSQL in /usr/lib/postgresql, and no apt-get to fetch one with")
	}
	p, err := packages()
	if err != nil {
		return "", "", err
	}
	if err := p.Fetch(ctx); err != nil {
		return "", "", err
	}
	return filepath.Dir(program(p.Folder)), p.Libraries(), nil
}

func program(folder string) string {
	found, _ := filepath.Glob(filepath.Join(folder, "usr/lib/postgresql/*/bin/postgres"))
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// server matches the packages that are unpacked, beside libraries. The others are for administrators.
var server = regexp.MustCompile(`^postgresql-(client-)?[0-9]+$`)

func packages() (debs.Packages, error) {
	base, err := cache()
	if err != nil {
		return debs.Packages{}, err
	}
	folder := filepath.Join(base, "postgresql-"+debs.Distribution()+"-"+runtime.GOARCH)
	if _, err := os.Lstat(folder); err == nil {
		if err := trust.Folder(folder); err != nil {
			return debs.Packages{}, err
		}
	}
	return debs.Packages{
		Name: "PostgreSQL", Package: "postgresql", Folder: folder,
		Missing: func(name string) bool { return strings.HasPrefix(name, "postgresql") },
		Unwanted: func(name string) bool { // among the libraries is the compiler of queries, which is off
			library := strings.HasPrefix(name, "lib") && !strings.HasPrefix(name, "libllvm") && !strings.HasSuffix(name, "-perl")
			return !library && !server.MatchString(name)
		},
		Correct:  func(root string) error { return os.Chmod(root, 0o755) }, // for nobody to run what is in it
		Complete: func() bool { return program(folder) != "" },
		Say:      func(format string, args ...any) { fmt.Fprintf(os.Stderr, "pgtest: "+format+"\n", args...) },
	}, nil
}

// cache returns the folder for the packages. Root's own cache is closed to the user that the server runs as.
func cache() (string, error) {
	if os.Geteuid() != 0 {
		return debs.Cache()
	}
	const folder = "/var/cache/leveret"
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // for nobody to read
		return "", err
	}
	if err := trust.Folder(folder); err != nil {
		return "", err
	}
	return folder, os.Chmod(folder, 0o755) // whatever the umask was
}
