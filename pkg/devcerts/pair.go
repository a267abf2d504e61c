package devcerts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
	// organization marks the authorities that this package has made.
	organization = "Leveret development"
)

// pair is a certificate with its key.
type pair struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// newAuthority makes an authority for some names and addresses, and this machine.
func newAuthority(services, hosts []string, now time.Time) (*pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{organization}, CommonName: "development authority " + rand.Text()[:8]},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true,
	}
	template.PermittedDNSDomains, template.PermittedIPRanges = names("localhost", services, hosts, func(ip net.IP) *net.IPNet {
		if ip.IsLoopback() && ip.To4() != nil {
			return &net.IPNet{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}
		}
		if v4 := ip.To4(); v4 != nil {
			return &net.IPNet{IP: v4, Mask: net.CIDRMask(32, 32)}
		}
		return &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}
	})
	return sign(template, nil)
}

// issue makes a certificate for a service, to serve and to call with.
func (p *pair) issue(service string, hosts []string, now time.Time) (*pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{organization}, CommonName: service},
		NotBefore: now.Add(-skew), NotAfter: now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(p.certificate.NotAfter) {
		template.NotAfter = p.certificate.NotAfter
	}
	template.DNSNames, template.IPAddresses = names("localhost", []string{service}, hosts, func(ip net.IP) net.IP { return ip })
	return sign(template, p)
}

// names sorts hosts into names and addresses, and adds those of this machine.
func names[A any](local string, services, hosts []string, as func(net.IP) A) (dns []string, addresses []A) {
	dns = append([]string{local}, services...)
	addresses = []A{as(net.IPv4(127, 0, 0, 1)), as(net.IPv6loopback)}
	for _, h := range hosts {
		if ip := address(h); ip != nil {
			addresses = append(addresses, as(ip))
		} else {
			dns = append(dns, h)
		}
	}
	return dns, addresses
}

// address returns a host that is an IP address, and else nil.
func address(host string) net.IP { return net.ParseIP(host) }

// sign makes a key and has its certificate signed by an authority, or by itself.
func sign(template *x509.Certificate, authority *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	if authority == nil {
		authority = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.certificate, key.Public(), authority.key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &pair{certificate, key}, nil
}

// read reads a certificate and its key.
func read(certificate, key string) (*pair, error) {
	both, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	signer, ok := both.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, which cannot sign", key, both.PrivateKey)
	}
	return &pair{both.Leaf, signer}, nil
}

// ours reports whether this package has made the authority.
func (p *pair) ours() bool {
	c := p.certificate
	return c.IsCA && len(c.Subject.Organization) == 1 && c.Subject.Organization[0] == organization && c.CheckSignatureFrom(c) == nil
}

// owns returns an error if the file holds something that the authority has not signed, nor, if earlier is true, another
// one that this package has made. A file that does not exist is fine.
func (p *pair) owns(file string, earlier bool) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return fmt.Errorf("%s is not a certificate; move it away, or replace it with --force", file)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err == nil && earlier && slices.Equal(certificate.Issuer.Organization, []string{organization}) {
		return nil
	}
	if err != nil || certificate.CheckSignatureFrom(p.certificate) != nil {
		return fmt.Errorf("%s is not of this authority; move it away, or replace it with --force", file)
	}
	return nil
}

// write writes a pair. Each file is replaced at once, so that a program that reads it again sees a whole one.
func (p *pair) write(certificate, key string) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	if err := replace(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	return replace(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}), 0o644)
}

func replace(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
