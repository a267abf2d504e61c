package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/compat"
)

// defaultLockFile is the lock file in the current folder.
const defaultLockFile = "contracts.lock.json"

// lockResult is what `contracts lock` prints as JSON.
type lockResult struct {
	File      string           `json:"file"`
	Contracts int              `json:"contracts"`
	Services  int              `json:"services"`
	Changed   bool             `json:"changed"` // it differs from what the file had
	Written   bool             `json:"written"`
	Findings  []compat.Finding `json:"findings"`
}

type contractsLockOptions struct {
	file   string
	accept bool
}

func (a *App) contractsLockCommand() *cobra.Command {
	var o contractsLockOptions
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Write down all contracts at a release, for `contracts check`",
		Long: "Write all contracts and services to a lock file: schemas, routes, queues, retries, roles. Do so at each release,\n" +
			"and commit the file; `" + a.Name + " contracts check` compares the program with it.\n\n" +
			"If something breaks for the last release, the file is left as it is, unless --accept-breaking says that this\n" +
			"is known and how it is deployed is decided.",
		Example: fmt.Sprintf("  %[1]s contracts lock\n  %[1]s contracts lock -f - | diff %[2]s -", a.Name, defaultLockFile),
		Args:    Arguments(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.lockContracts(o) },
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", defaultLockFile, "write this `file`, or - for standard output")
	cmd.Flags().BoolVar(&o.accept, "accept-breaking", false, "write it although something breaks for the last release")
	return cmd
}

func (a *App) lockContracts(o contractsLockOptions) error {
	lock, err := compat.Of(a.Catalog)
	if err != nil {
		return err
	}
	text, err := lock.Encode()
	if err != nil {
		return err
	}
	if o.file == "-" {
		_, err := a.IO.Out.Write(text)
		return err
	}
	result := lockResult{File: o.file, Contracts: len(lock.Contracts), Services: len(lock.Services), Changed: true, Findings: []compat.Finding{}}
	had, err := readLockFile(a, o.file, a.IO.In)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if result.Findings, err = a.compare(had, lock, o.file); err != nil {
			return err
		}
		before, err := had.Encode()
		result.Changed = err != nil || string(before) != string(text)
	}
	if n := countBreaks(result.Findings); n > 0 && !o.accept {
		if err := a.printLocked(result); err != nil {
			return err
		}
		return Fail(ExitDrift, fmt.Sprintf("once it is decided how to deploy this: %s contracts lock%s --accept-breaking",
			a.Name, fileFlag(o.file)), "%s is left as it is: %s", o.file, breaking(n))
	}
	if err := replaceFile(o.file, text); err != nil {
		return usage("", "%w", err)
	}
	result.Written = true
	if err := a.printLocked(result); err != nil || a.Format() != FormatText {
		return err
	}
	if !result.Changed {
		a.Note("%s is up to date (%s)", o.file, contractCount(lock))
		return nil
	}
	a.Note("wrote %s (%s); commit it with the release", o.file, contractCount(lock))
	return nil
}

func (a *App) printLocked(result lockResult) error {
	if a.Format() != FormatText {
		return a.PrintJSON(result)
	}
	return a.printFindings(result.File, result.Findings, false)
}

// fileFlag returns the flag that names a lock file; nothing for the default.
func fileFlag(file string) string {
	if file == defaultLockFile {
		return ""
	}
	if strings.ContainsFunc(file, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+@:", r)
	}) {
		file = "'" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	}
	return " -f " + file
}

func contractCount(l *compat.Lock) string {
	if len(l.Contracts) == 1 {
		return "1 contract"
	}
	return fmt.Sprintf("%d contracts", len(l.Contracts))
}

// readLockFile reads a lock file. What is missing is an [fs.ErrNotExist].
func readLockFile(a *App, file string, in io.Reader) (*compat.Lock, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, compat.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", describeSource(file), err)
	}
	lock, err := compat.Read(text)
	switch {
	case errors.Is(err, compat.ErrNewer):
		return nil, Fail(ExitUsage, "use the version of "+a.Name+" that wrote it, or a newer one", "%s: %w", describeSource(file), err)
	case err != nil:
		return nil, Fail(ExitUsage, "restore the file from version control, or remove it and run "+a.Name+" contracts lock"+fileFlag(file),
			"%s is %w", describeSource(file), err)
	}
	return lock, nil
}

// replaceFile writes a file as a whole: whatever happens, the old one or the new one is there.
func replaceFile(name string, text []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		switch mode = info.Mode().Perm(); {
		case info.IsDir():
			return fmt.Errorf("%s is a folder; -f names the file in it", name)
		case !info.Mode().IsRegular(): // a pipe, for example
			return os.WriteFile(name, text, mode)
		}
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		if pathError, ok := errors.AsType[*os.PathError](err); ok {
			err = pathError.Err // the path is that of the temporary file
		}
		return fmt.Errorf("%s cannot be written: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
