// Package trust keeps a program from obeying a file, or running a program, that another user of the machine may have
// put there. On Windows, where access is a matter of lists and not of modes, it checks nothing.
//
// A folder is safe if nobody can replace what is in it: it is not writable by everyone, or has the sticky bit (as /tmp
// has), or is on a read-only file system (as a volume of Kubernetes, whose folders have the mode 0777). A group is
// trusted: those who may write as a group were chosen.
package trust

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrUntrusted means that another user may have written a file, or may replace it.
var ErrUntrusted = errors.New("not to be trusted")

// ErrOwner means that a file, a link on the way to it, or a folder belongs to another user. It is an [ErrUntrusted].
var ErrOwner = fmt.Errorf("%w: it belongs to another user", ErrUntrusted)

// maxSize is how much of a file is read: more than any settings, key or bundle of certificates, and less than a device
// has, such as /dev/zero.
const maxSize = 4 << 20

// Create creates a file for this user's data with the mode 0600, or else does what [Keep] does with the one that is there.
func Create(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return Keep(path)
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// KeyPair reads a certificate and its private key from two PEM files, by [Read].
func KeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := Read(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := Read(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
