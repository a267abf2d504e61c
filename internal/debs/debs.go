package debs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/leveretmq/leveret/internal/flock"
	"github.com/leveretmq/leveret/internal/trust"
)

// Packages are packages to download from the machine's own apt sources and to unpack into a folder, with their missing
// dependencies. That needs no root and does not touch the state of apt and dpkg. Signatures and hashes are checked by
// apt as usual.
type Packages struct {
	// Name is what they are, for messages: "RabbitMQ and Erlang".
	Name string
	// Package is the package that is wanted.
	Package string
	// Folder is where they are unpacked.
	Folder string
	// Status is dpkg's list of installed packages. Defaults to the system's.
	Status string
	// Missing reports whether a package counts as missing, although it may be installed.
	Missing func(name string) bool
	// Unwanted reports whether a package is left out, although another one depends on it. Optional.
	Unwanted func(name string) bool
	// Accept returns an error if the offered version of Package does not do. Optional.
	Accept func(version string) error
	// Correct changes what was unpacked in root, before it becomes Folder. Optional.
	Correct func(root string) error
	// Complete reports whether Folder has everything.
	Complete func() bool
	// Say prints progress.
	Say func(format string, args ...any)
}

// HasApt reports whether this machine has apt.
func HasApt() bool {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	return runtime.GOOS == "linux"
}

// Cache is leveret's folder in the user's cache or, if it cannot be created, in the temporary folder. It contains
// programs that are run, so it is refused if another user may have put them there.
func Cache() (string, error) {
	var problems error
	if cache, err := os.UserCacheDir(); err != nil {
		problems = err // HOME is unset
	} else if folder := filepath.Join(cache, "leveret"); strings.ContainsAny(folder, " \t'\"\\$`&;|") {
		problems = fmt.Errorf("scripts do not work in %s", folder)
	} else if problems = writable(folder); problems == nil {
		return folder, nil
	} else if errors.Is(problems, trust.ErrUntrusted) {
		return "", fmt.Errorf("the cache folder: %w", problems)
	}
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("leveret-cache-%d", os.Geteuid()))
	if err := writable(folder); err != nil {
		return "", fmt.Errorf("neither the cache folder (%w) nor the temporary folder, which TMPDIR names, can be used: %w", problems, err)
	}
	return folder, nil
}

func writable(folder string) error {
	if err := trust.Folder(folder); err != nil {
		return err
	}
	probe, err := os.CreateTemp(folder, "probe-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Distribution returns the name of the distribution that the packages are for, such as debian-12.
func Distribution() string {
	text, _ := os.ReadFile("/etc/os-release")
	name, version := "linux", ""
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return regexp.MustCompile(`[^a-z0-9.]+`).ReplaceAllString(strings.ToLower(strings.Trim(name+"-"+version, "-")), "-")
}

// Fetch downloads and unpacks the packages unless that was done before. Several processes may call it at once: one does
// the work and the others wait.
func (p Packages) Fetch(ctx context.Context) error {
	if p.Complete() {
		return nil
	}
	unlock, err := flock.Lock(ctx, p.Folder+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if p.Complete() { // by the process that we waited for
		return nil
	}
	// Remove what killed processes left behind. The lock ensures that nobody is using it; each release of a distribution
	// has its own prefix and lock.
	prefix := "fetch-" + filepath.Base(p.Folder) + "-"
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Folder), prefix+"*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
	work, err := os.MkdirTemp(filepath.Dir(p.Folder), prefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	began := time.Now()
	p.Say("fetching %s with apt into %s (once; nothing is installed) …", p.Name, p.Folder)
	count, size, err := p.unpack(ctx, work)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(p.Folder); err != nil { // an incomplete one
		return err
	}
	if err := os.Rename(filepath.Join(work, "root"), p.Folder); err != nil {
		return err
	}
	if !p.Complete() {
		return fmt.Errorf("apt's %s lacks what is needed; it is unpacked in %s", p.Package, p.Folder)
	}
	p.Say("fetched %d packages, %d MB, in %.0f s, into %s", count, (size+500_000)/1_000_000, time.Since(began).Seconds(), p.Folder)
	return nil
}

// unpack downloads the packages and unpacks them into the folder root. It returns their number and size.
func (p Packages) unpack(ctx context.Context, work string) (count int, size int64, err error) {
	packages, err := p.download(ctx, work)
	if err != nil {
		return 0, 0, err
	}
	root := filepath.Join(work, "root")
	for _, deb := range packages {
		if info, err := os.Stat(deb); err == nil {
			size += info.Size()
		}
		if err := run(ctx, work, nil, "dpkg-deb", "-x", deb, root); err != nil {
			return 0, 0, err
		}
	}
	if p.Correct != nil {
		err = p.Correct(root)
	}
	return len(packages), size, err
}

// Libraries returns the variable LD_LIBRARY_PATH with the folders of the libraries that were unpacked before what it is
// set to; "" if there are none.
func (p Packages) Libraries() string {
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(p.Folder, pattern))
		libraries = append(libraries, found...)
	}
	if len(libraries) == 0 {
		return ""
	}
	if set := os.Getenv("LD_LIBRARY_PATH"); set != "" {
		libraries = append(libraries, set)
	}
	return "LD_LIBRARY_PATH=" + strings.Join(libraries, ":")
}

// download downloads the package and its missing dependencies with apt, and returns the package files.
func (p Packages) download(ctx context.Context, work string) ([]string, error) {
	for _, sub := range []string{"state", "lists/partial", "cache/archives/partial", "debs", "root"} {
		if err := os.MkdirAll(filepath.Join(work, sub), 0o700); err != nil {
			return nil, err
		}
	}
	status := p.Status
	if status == "" {
		status = "/var/lib/dpkg/status"
	}
	known, err := os.ReadFile(status)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, "status"), without(known, p.Missing), 0o600); err != nil {
		return nil, err
	}
	conf := filepath.Join(work, "apt.conf")
	if err := os.WriteFile(conf, []byte(aptConf(work)), 0o600); err != nil {
		return nil, err
	}
	get := func(into *bytes.Buffer, args ...string) error {
		return run(ctx, filepath.Join(work, "debs"), into, "apt-get", append([]string{"-c", conf, "-qq"}, args...)...)
	}
	if err := get(nil, "update"); err != nil {
		return nil, err
	}
	var plan bytes.Buffer
	if err := get(&plan, "-s", "--no-install-recommends", "install", p.Package); err != nil {
		return nil, err
	}
	names, version := p.toInstall(plan.String())
	if p.Accept != nil {
		if err := p.Accept(version); err != nil {
			return nil, err
		}
	}
	if err := get(nil, append([]string{"download"}, names...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(work, "debs", "*.deb"))
}

// aptConf redirects everything that apt writes to the work folder and drops the
// hooks that would touch the system. It is read after the system's own configuration.
func aptConf(work string) string {
	return strings.ReplaceAll(`Dir::State "@/state";
Dir::State::lists "@/lists";
Dir::State::status "@/status";
Dir::Cache "@/cache";
Dir::Log "@/log";
Debug::NoLocking "1";
APT::Sandbox::User "";
APT::Get::Show-User-Simulation-Note "0";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
`, "@", work)
}

// without drops packages from a dpkg status file.
func without(status []byte, drop func(name string) bool) []byte {
	var kept [][]byte
	for paragraph := range bytes.SplitSeq(status, []byte("\n\n")) {
		name, _, _ := bytes.Cut(bytes.TrimPrefix(paragraph, []byte("Package: ")), []byte("\n"))
		if !drop(string(name)) {
			kept = append(kept, paragraph)
		}
	}
	return bytes.Join(kept, []byte("\n\n"))
}

// toInstall parses apt's simulation, with lines such as "Inst name (version …)". A
// package installed in an older version, "Inst name [old] (new …)", is good enough.
func (p Packages) toInstall(plan string) (names []string, version string) {
	for line := range strings.Lines(plan) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "Inst" || !strings.HasPrefix(fields[2], "(") {
			continue
		}
		if p.Unwanted == nil || !p.Unwanted(fields[1]) {
			names = append(names, fields[1])
		}
		if fields[1] == p.Package {
			version = strings.TrimPrefix(fields[2], "(")
		}
	}
	return names, version
}

// run runs a program non-interactively. Its error includes the last lines of output.
func run(ctx context.Context, dir string, out *bytes.Buffer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	if cmd.Stdout = &said; out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s: %w: %s", name, err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return nil
}
