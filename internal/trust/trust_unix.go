//go:build unix

package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// everyone is the permission of all users to write.
const everyone = 0o002

// ReadOwn reads a file that decides what the program does. It returns an [ErrUntrusted] unless the file, every link on
// the way to it and every folder above it belong to this user, to root or to one of owners, nobody else can replace
// them, and not everyone may write to the file. The checked file is the one that is read, whatever happens in between.
// A file over 4 MiB is an error.
func ReadOwn(path string, owners ...int) ([]byte, error) { return read(path, rule{owners: owners}) }

// Read is ReadOwn for a file of any owner, such as a key that another user provides. In a folder in which everyone may
// create files, the owner matters all the same.
func Read(path string) ([]byte, error) { return read(path, rule{anyOwner: true}) }

// Folder creates a folder for this user alone, with its parents, unless it is there. It returns an [ErrUntrusted] if
// the folder belongs to another user, if others may write to it, or if they can replace it.
func Folder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := alone(path); err != nil { // before the walk, whose error is about what is in the folder
		return err
	}
	found, err := rule{}.walk(path)
	if err != nil {
		return err
	}
	return alone(found) // nobody can replace it any more
}

// alone checks that a folder is this user's alone.
func alone(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	case owner(info) != os.Geteuid():
		return foreign(path, info)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("the folder %s is %w: others may write to it (mode %04o), so anything in it may be theirs; remove it, and it is made anew",
			path, ErrUntrusted, info.Mode().Perm())
	}
	return nil
}

// Keep makes a file with this user's data this user's alone: an existing one gets the mode 0600 if it belongs to this
// user. A link is refused, and so is another user's file in a folder to which everyone may write. A missing file is an
// [fs.ErrNotExist]. Keep does not open the file: to close it would release the locks that this process has on it.
func Keep(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is %w: it is not a regular file, but %s", path, ErrUntrusted, info.Mode().Type())
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if r := (rule{}); folder.Mode().Perm()&everyone != 0 && !r.allows(info) {
		return foreign(path, info)
	}
	if info.Mode().Perm()&0o077 != 0 && owner(info) == os.Geteuid() {
		return os.Chmod(path, 0o600)
	}
	return nil
}

// A rule is whose files are trusted, besides this user's and root's.
type rule struct {
	owners   []int
	anyOwner bool
}

func (r rule) allows(info fs.FileInfo) bool {
	uid := owner(info)
	return uid == 0 || uid == os.Geteuid() || slices.Contains(r.owners, uid)
}

func owner(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

func foreign(path string, info fs.FileInfo) error {
	return fmt.Errorf("%s is %w (uid %d; this user is %d)", path, ErrOwner, owner(info), os.Geteuid())
}

func read(path string, r rule) ([]byte, error) {
	found, err := r.walk(path)
	if err != nil {
		return nil, err
	}
	flag := os.O_RDONLY | syscall.O_NOFOLLOW
	if ofProcess(filepath.Dir(found)) {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(found, flag, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !r.anyOwner && !r.allows(info):
		return nil, foreign(found, info)
	case info.Mode().IsRegular() && info.Mode().Perm()&everyone != 0:
		return nil, fmt.Errorf("%s is %w: everyone may write to it (mode %04o); to keep others out: chmod o-w %[1]s",
			found, ErrUntrusted, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(content) > maxSize {
		return nil, fmt.Errorf("%s is larger than %d MiB", found, maxSize>>20)
	}
	return content, err
}

// maxLinks is how many links a path may have, as on Linux.
const maxLinks = 40

// walk resolves a path's links and checks everything on the way. It returns the path without links.
func (r rule) walk(path string) (string, error) {
	given := path
	if !filepath.IsAbs(path) {
		here, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = here + "/" + path // not cleaned: what is behind a link's ".." is not what is before the link
	}
	at, rest, links := "/", strings.Split(path, "/"), 0
	open, err := r.folder(at)
	for err == nil && len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			open, err = r.folder(at)
			continue
		}
		next := filepath.Join(at, name)
		info, failed := os.Lstat(next)
		if failed != nil {
			return "", &fs.PathError{Op: "open", Path: given, Err: errors.Unwrap(failed)}
		}
		if (open || !r.anyOwner) && !r.allows(info) {
			return "", foreign(next, info)
		}
		switch {
		case ofProcess(at): // <(command): the kernel's link to an open file has no path
			return next, nil
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", &fs.PathError{Op: "open", Path: given, Err: syscall.ELOOP}
			}
			target, failed := os.Readlink(next)
			if failed != nil {
				return "", failed
			}
			if filepath.IsAbs(target) {
				at = "/"
				open, err = r.folder(at)
			}
			rest = append(strings.Split(target, "/"), rest...)
		case info.IsDir():
			at = next
			open, err = r.folder(at)
		case len(rest) > 0:
			return "", &fs.PathError{Op: "open", Path: given, Err: syscall.ENOTDIR}
		default:
			return next, nil
		}
	}
	return at, err
}

// folder checks a folder on the way. It reports whether everyone may create files in it.
func (r rule) folder(path string) (open bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return false, err
	case !r.anyOwner && !r.allows(info):
		return false, foreign(path, info)
	case info.Mode().Perm()&everyone == 0, readOnly(path):
		return false, nil
	case info.Mode()&fs.ModeSticky == 0:
		return false, fmt.Errorf("the folder %s is %w: everyone may replace the files in it (mode %04o); to keep others out: chmod o-w %[1]s",
			path, ErrUntrusted, info.Mode().Perm())
	}
	return true, nil
}

// readOnly reports whether a folder that everyone may write to is on a read-only file system.
func readOnly(path string) bool {
	const write = 2
	return syscall.Access(path, write) == syscall.EROFS
}

// ofProcess reports whether a folder lists the open files of a process.
func ofProcess(folder string) bool {
	return folder == "/dev/fd" || strings.HasPrefix(folder, "/proc/") && filepath.Base(folder) == "fd"
}
