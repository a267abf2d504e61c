package devbroker

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

	"github.com/leveretmq/leveret/internal/trust"
)

// apt downloads RabbitMQ and Erlang from the machine's own apt sources and unpacks
// them into a folder of the user. It needs no root and does not touch the state of
// apt and dpkg. Signatures and hashes are checked by apt as usual.
type apt struct {
	// folder is where the packages are unpacked.
	folder string
	// status is dpkg's list of installed packages. Missing dependencies are fetched too.
	status string
	say    func(format string, args ...any)
}

// hasApt reports whether this machine has apt.
func hasApt() bool {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	return runtime.GOOS == "linux"
}

// newApt finds the folder for the packages: in the user's cache folder or, if that
// is not writable, in the temporary folder.
func newApt(cfg Config) (apt, error) {
	a := apt{status: "/var/lib/dpkg/status", say: cfg.say}
	base, err := cacheFolder()
	if err != nil {
		return a, err
	}
	a.folder = filepath.Join(base, "rabbitmq-"+distribution()+"-"+runtime.GOARCH)
	if _, err := os.Lstat(a.folder); err == nil {
		return a, trust.Folder(a.folder)
	}
	return a, nil
}

// cacheFolder is leveret's folder in the user's cache or, if it cannot be created, in the temporary folder. It contains
// programs that are run, so it is refused if another user may have put them there.
func cacheFolder() (string, error) {
	var problems error
	if cache, err := os.UserCacheDir(); err != nil {
		problems = err // HOME is unset
	} else if folder := filepath.Join(cache, "leveret"); strings.ContainsAny(folder, " \t'\"\\$`&;|") {
		problems = fmt.Errorf("RabbitMQ's scripts do not work in %s", folder)
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

// distribution returns the name of the distribution that the packages are for, such as debian-12.
func distribution() string {
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

func (a apt) bin() string { return filepath.Join(a.folder, "usr/lib/rabbitmq/bin") }

// unpacked returns the packages if they have been unpacked before.
func (a apt) unpacked() (Source, bool) {
	if _, err := toolsIn(a.bin()); err != nil {
		return Source{}, false
	}
	env := []string{"PATH=" + filepath.Join(a.folder, "usr/bin") + ":" + os.Getenv("PATH")}
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(a.folder, pattern))
		libraries = append(libraries, found...)
	}
	if len(libraries) > 0 {
		if set := os.Getenv("LD_LIBRARY_PATH"); set != "" {
			libraries = append(libraries, set)
		}
		env = append(env, "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	}
	return Source{Kind: Packages, Path: a.bin(), env: env}, true
}

// fetch downloads and unpacks the packages unless that was done before. Several
// processes may call it at once: one does the work and the others wait.
func (a apt) fetch(ctx context.Context) (Source, error) {
	if s, ok := a.unpacked(); ok {
		return s, nil
	}
	unlock, err := lock(ctx, a.folder+".lock")
	if err != nil {
		return Source{}, err
	}
	defer unlock()
	if s, ok := a.unpacked(); ok { // by the process that we waited for
		return s, nil
	}
	// Remove what killed processes left behind. The lock ensures that nobody is using it; each release of a distribution
	// has its own prefix and lock.
	prefix := "fetch-" + filepath.Base(a.folder) + "-"
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(a.folder), prefix+"*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
	work, err := os.MkdirTemp(filepath.Dir(a.folder), prefix)
	if err != nil {
		return Source{}, err
	}
	defer os.RemoveAll(work)
	began := time.Now()
	a.say("fetching RabbitMQ and Erlang with apt into %s (once; nothing is installed) …", a.folder)
	packages, err := a.download(ctx, work)
	if err != nil {
		return Source{}, err
	}
	root := filepath.Join(work, "root")
	var size int64
	for _, deb := range packages {
		if info, err := os.Stat(deb); err == nil {
			size += info.Size()
		}
		if err := run(ctx, work, nil, "dpkg-deb", "-x", deb, root); err != nil {
			return Source{}, err
		}
	}
	if err := a.correct(root); err != nil {
		return Source{}, err
	}
	if err := os.RemoveAll(a.folder); err != nil { // an incomplete one
		return Source{}, err
	}
	if err := os.Rename(root, a.folder); err != nil {
		return Source{}, err
	}
	s, ok := a.unpacked()
	if !ok {
		return Source{}, fmt.Errorf("apt's rabbitmq-server has no usr/lib/rabbitmq/bin/rabbitmq-server; it is unpacked in %s", a.folder)
	}
	a.say("fetched %d packages, %d MB, in %.0f s, into %s", len(packages), (size+500_000)/1_000_000, time.Since(began).Seconds(), a.folder)
	return s, nil
}

// download downloads rabbitmq-server and its missing dependencies with apt, and
// returns the package files.
func (a apt) download(ctx context.Context, work string) ([]string, error) {
	for _, sub := range []string{"state", "lists/partial", "cache/archives/partial", "debs", "root"} {
		if err := os.MkdirAll(filepath.Join(work, sub), 0o700); err != nil {
			return nil, err
		}
	}
	// Pretend that Erlang is not installed, so that a matching release is fetched.
	known, err := os.ReadFile(a.status)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, "status"), withoutErlang(known), 0o600); err != nil {
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
	if err := get(&plan, "-s", "--no-install-recommends", "install", "rabbitmq-server"); err != nil {
		return nil, err
	}
	names, version := toInstall(plan.String())
	if tooOld(version) {
		return nil, fmt.Errorf("apt offers rabbitmq-server %s, but 3.10 or later is required", version)
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

// withoutErlang drops Erlang and RabbitMQ from a dpkg status file.
func withoutErlang(status []byte) []byte {
	var kept [][]byte
	for paragraph := range bytes.SplitSeq(status, []byte("\n\n")) {
		if !bytes.HasPrefix(paragraph, []byte("Package: erlang-")) && !bytes.HasPrefix(paragraph, []byte("Package: rabbitmq-server\n")) {
			kept = append(kept, paragraph)
		}
	}
	return bytes.Join(kept, []byte("\n\n"))
}

// toInstall parses apt's simulation, with lines such as "Inst name (version …)". A
// package installed in an older version, "Inst name [old] (new …)", is good enough.
func toInstall(plan string) (names []string, version string) {
	for line := range strings.Lines(plan) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "Inst" || !strings.HasPrefix(fields[2], "(") {
			continue
		}
		names = append(names, fields[1])
		if fields[1] == "rabbitmq-server" {
			version = strings.TrimPrefix(fields[2], "(")
		}
	}
	return names, version
}

// correct replaces the hard-coded path /usr/lib/erlang in Debian's Erlang scripts by
// the path in our folder.
func (a apt) correct(root string) error {
	erlang := filepath.Join(root, "usr/lib/erlang")
	scripts, _ := filepath.Glob(filepath.Join(erlang, "bin/*"))
	more, _ := filepath.Glob(filepath.Join(erlang, "erts-*/bin/*"))
	there := []byte(filepath.Join(a.folder, "usr/lib/erlang"))
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
