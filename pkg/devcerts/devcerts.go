package devcerts

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The validity of what is made.
const (
	authorityLife = 365 * 24 * time.Hour
	leafLife      = 30 * 24 * time.Hour
	// skew is how far the clocks of machines may differ.
	skew = time.Hour
)

// Config says what to make. The zero value of a field is its default.
type Config struct {
	// Dir is the folder for all files. It is made if it does not exist. Required.
	Dir string
	// Services get a certificate each. A certificate is valid for the service's name, localhost, 127.0.0.1 and ::1.
	// Required.
	Services []string
	// Hosts are further names and addresses that each certificate is valid for.
	Hosts []string
	// Renew replaces an authority that Make has made if it expires before a new certificate would, or is not for all
	// names. Name all services then, because the certificates of others would be of the authority before.
	Renew bool
	// Force replaces the authority, whoever made it, and with it all certificates.
	Force bool
}

// A Set is what Make has made: an authority, and a certificate for each service.
type Set struct {
	Dir string
	// CAFile is the authority's certificate, which every service trusts.
	CAFile string
	// CAExpires is when the authority has to be made again.
	CAExpires time.Time
	// CAMade is true if the authority is new, and false if it existed.
	CAMade bool
	// Certificates are those of the services, in the order of Config.Services.
	Certificates []Certificate
}

// A Certificate is one service's.
type Certificate struct {
	Service  string
	CertFile string
	KeyFile  string
	Expires  time.Time
}

// Make makes certificates for services in a folder: see [Config.Make].
func Make(dir string, services ...string) (*Set, error) {
	return Config{Dir: dir, Services: services}.Make()
}

// Make makes a certificate and a key for each service, valid for 30 days, in place of those that it made before. The
// authority that signs them is made first if the folder has none. It is valid for a year, and only for the names in
// Services and Hosts, so that it cannot vouch for others if its key is lost. A new name needs a new authority: see
// Renew and Force.
//
// Without Force, an authority that Make has not made and a certificate of another authority are errors, and nothing is
// written; without Renew, so is an authority that has expired. The keys can be read only by their owner.
func (c Config) Make() (*Set, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, err
	}
	now := time.Now()
	before, err := c.existing()
	if err != nil {
		return nil, err
	}
	ca, err := c.authority(before, now)
	if err != nil {
		return nil, err
	}
	if !c.Force {
		for _, service := range c.Services {
			if err := cmp.Or(before, ca).owns(c.path(service+".pem"), c.Renew); err != nil {
				return nil, err
			}
		}
	}
	set := &Set{Dir: c.Dir, CAFile: c.path(caFile), CAExpires: ca.certificate.NotAfter, CAMade: ca != before}
	if set.CAMade {
		if err := ca.write(c.path(caFile), c.path(caKeyFile)); err != nil {
			return nil, err
		}
	}
	for _, service := range c.Services {
		leaf, err := ca.issue(service, c.Hosts, now)
		if err != nil {
			return nil, fmt.Errorf("the certificate of %s: %w", service, err)
		}
		one := Certificate{
			Service: service, CertFile: c.path(service + ".pem"), KeyFile: c.path(service + "-key.pem"), Expires: leaf.certificate.NotAfter,
		}
		if err := leaf.write(one.CertFile, one.KeyFile); err != nil {
			return nil, err
		}
		set.Certificates = append(set.Certificates, one)
	}
	return set, nil
}

// Env returns the environment variables with which a program of package service uses the certificate.
func (s *Set) Env(service string) []string {
	i := slices.IndexFunc(s.Certificates, func(c Certificate) bool { return c.Service == service })
	if i < 0 {
		return nil
	}
	return []string{
		"LEVERET_TLS_CA_FILE=" + s.CAFile,
		"LEVERET_TLS_CERT_FILE=" + s.Certificates[i].CertFile,
		"LEVERET_TLS_KEY_FILE=" + s.Certificates[i].KeyFile,
	}
}

func (c Config) path(file string) string { return filepath.Join(c.Dir, file) }

var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (c Config) err() error {
	switch {
	case c.Dir == "":
		return errors.New("Dir is required")
	case len(c.Services) == 0:
		return errors.New("Services is empty; name at least one service")
	}
	for _, s := range c.Services {
		if !name.MatchString(s) || s == "ca" || strings.HasSuffix(s, "-key") { // which are names of other files
			return fmt.Errorf("the service %q: its name must be lower-case letters, digits, hyphens and dots, not ca, and not end in -key", s)
		}
	}
	for _, h := range c.Hosts {
		if address(h) == nil && !name.MatchString(h) {
			return fmt.Errorf("the host %q: it must be an IP address or a host's name in lower case", h)
		}
	}
	return nil
}

// existing returns the authority in the folder, or nil if there is none or Force replaces it.
func (c Config) existing() (*pair, error) {
	certificate, key := c.path(caFile), c.path(caKeyFile)
	_, errCertificate := os.Lstat(certificate)
	_, errKey := os.Lstat(key)
	if c.Force || errors.Is(errCertificate, os.ErrNotExist) && errors.Is(errKey, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is no error
	}
	const remedy = "; choose another folder, or replace it with --force"
	ca, err := read(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("the authority in %s cannot be used: %w%s", c.Dir, err, remedy)
	}
	if !ca.ours() {
		return nil, fmt.Errorf("%s is the certificate of somebody else's authority, %q%s", certificate, ca.certificate.Subject.String(), remedy)
	}
	return ca, nil
}

// authority returns the authority that signs: the one from before, or a new one.
func (c Config) authority(before *pair, now time.Time) (*pair, error) {
	if before != nil {
		err := c.outlived(before.certificate, now)
		if err == nil {
			return before, nil
		}
		if !c.Renew {
			return nil, err
		}
	}
	return newAuthority(c.Services, c.Hosts, now)
}

// outlived returns an error if an authority has expired or, with Renew, expires before a certificate made now would,
// and if it is not for all names.
func (c Config) outlived(ca *x509.Certificate, now time.Time) error {
	needed := now
	if c.Renew {
		needed = now.Add(leafLife)
	}
	if needed.After(ca.NotAfter) {
		return fmt.Errorf("the authority in %s expired at %s; make a new one, and new certificates, with --force",
			c.Dir, ca.NotAfter.Format(time.RFC3339))
	}
	for _, n := range slices.Concat(c.Services, c.Hosts) {
		if !permits(ca, n) {
			return fmt.Errorf("the authority in %s is not for the name %q; make a new one, and new certificates for all services, with --force",
				c.Dir, n)
		}
	}
	return nil
}

// permits reports whether an authority may vouch for a name or an address.
func permits(ca *x509.Certificate, host string) bool {
	if ip := address(host); ip != nil {
		for _, n := range ca.PermittedIPRanges {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
	return slices.Contains(ca.PermittedDNSDomains, host)
}
