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

// PasswordFile is the name of the file in which [Passwords] keeps the password of a user, in a folder of the user's name: each
// folder can be given to one service, and the file is what broker.password_file names.
const PasswordFile = "broker-password"

// Passwords returns a function for [Options]. It reads the password of a user from dir/<user>/[PasswordFile]. Where there is no
// such file, it makes a random password, of 130 bits, and writes it there; only this user may read the file.
func Passwords(dir string) func(user string) (string, error) {
	return func(user string) (string, error) {
		if user != filepath.Base(user) || user == "." || user == ".." {
			return "", fmt.Errorf("there can be no folder %q", user)
		}
		name := filepath.Join(dir, user, PasswordFile)
		text, err := trust.ReadOwn(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return newPassword(name)
		case err != nil:
			return "", err
		}
		password := strings.TrimRight(string(text), "\r\n")
		if password == "" {
			return "", fmt.Errorf("%s is empty: remove it, and a password is made", name)
		}
		return password, nil
	}
}

// newPassword makes a password and its file, which is whole or not there.
func newPassword(name string) (string, error) {
	if err := trust.Folder(filepath.Dir(name)); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+PasswordFile+"-*") // with the mode 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	password := rand.Text()
	_, err = f.WriteString(password + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return password, os.Rename(f.Name(), name)
}
