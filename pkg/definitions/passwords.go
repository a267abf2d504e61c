package definitions

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/leveretmq/leveret/internal/trust"
)

// PasswordFile is the name of the file in which [Passwords] keeps the password of a user, in a folder of the user's
// name: each folder can be given to one service, and the file is what broker.password_file names.
const PasswordFile = "broker-password"

// Passwords returns a function for [Options]. It reads the password of a user from dir/<user>/[PasswordFile]. Where
// there is no such file, it makes a random password, of 130 bits, and writes it there; only this user may read the
// file. Two processes may do so at once.
func Passwords(dir string) func(user string) (string, error) {
	return func(user string) (string, error) {
		if user != filepath.Base(user) || user == "." || user == ".." {
			return "", fmt.Errorf("there can be no folder %q", user)
		}
		name := filepath.Join(dir, user, PasswordFile)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) { // a link to nothing is a password that is not there now
			if err := newPassword(name); err != nil {
				return "", err
			}
		}
		text, err := trust.ReadOwn(name)
		if err != nil {
			return "", err
		}
		password := strings.TrimRight(string(text), "\r\n")
		switch {
		case password == "":
			return "", fmt.Errorf("%s is empty: remove it, and a password is made", name)
		case strings.ContainsAny(password, "\r\n"):
			return "", fmt.Errorf("%s has more than one line", name)
		}
		return password, nil
	}
}

// newPassword makes a password and its file, which is whole or not there. A file that another process made is left.
func newPassword(name string) error {
	if err := trust.Folder(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+PasswordFile+"-*") // with the mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(rand.Text() + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
