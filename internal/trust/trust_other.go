//go:build !unix

package trust

import "os"

// ReadOwn reads a file.
func ReadOwn(path string, _ ...int) ([]byte, error) { return os.ReadFile(path) }

// Read reads a file.
func Read(path string) ([]byte, error) { return os.ReadFile(path) }

// Folder creates a folder, with its parents, unless it is there.
func Folder(path string) error { return os.MkdirAll(path, 0o700) }

// Keep returns an fs.ErrNotExist if there is no such file.
func Keep(path string) error {
	_, err := os.Lstat(path)
	return err
}
