package config

import (
	"errors"
	"fmt"
	"time"
)

// HTTP holds the settings for serving over HTTP.
type HTTP struct {
	Address           string        `config:"address"`
	TLS               ServerTLS     `config:"tls"`
	MaxConnections    int           `config:"max_connections"`
	MaxHeaderBytes    int           `config:"max_header_bytes"`
	ReadHeaderTimeout time.Duration `config:"read_header_timeout"`
	ReadTimeout       time.Duration `config:"read_timeout"`
	IdleTimeout       time.Duration `config:"idle_timeout"`
}

// GRPC holds the settings for serving over gRPC.
type GRPC struct {
	Address        string    `config:"address"`
	TLS            ServerTLS `config:"tls"`
	MaxConnections int       `config:"max_connections"`
}

// Identity names the files that show other services who this one is, and whom it trusts.
type Identity struct {
	CAFile   string `config:"ca_file"`
	CertFile string `config:"cert_file"`
	KeyFile  string `config:"key_file"`
}

// ServerTLS says how a server is secured: http.tls, grpc.tls.
type ServerTLS string

// The values of http.tls and grpc.tls.
const (
	TLSAuto   ServerTLS = "auto"   // TLSMutual where tls.cert_file is set, else TLSOff
	TLSOff    ServerTLS = "off"    // plain
	TLSServer ServerTLS = "server" // clients need no certificate
	TLSMutual ServerTLS = "mutual" // clients need a certificate of an authority in tls.ca_file
)

func serverTLS() []string {
	return []string{string(TLSAuto), string(TLSOff), string(TLSServer), string(TLSMutual)}
}

// With returns what TLSAuto stands for with this identity, and any other value as it is.
func (s ServerTLS) With(identity Identity) ServerTLS {
	switch {
	case s != TLSAuto && s != "":
		return s
	case identity.CertFile != "":
		return TLSMutual
	default:
		return TLSOff
	}
}

// serversErr checks the settings of the servers in combination.
func (c Config) serversErr() error {
	var errs []error
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		errs = append(errs, errors.New("tls.cert_file and tls.key_file: set both or neither"))
	}
	for _, s := range []struct {
		section, address string
		tls              ServerTLS
	}{{"http", c.HTTP.Address, c.HTTP.TLS}, {"grpc", c.GRPC.Address, c.GRPC.TLS}} {
		switch tls := s.tls.With(c.TLS); {
		case s.address == Off || tls == TLSOff:
		case c.TLS.CertFile == "":
			errs = append(errs, fmt.Errorf("%s.tls: %s needs tls.cert_file and tls.key_file", s.section, tls))
		case tls == TLSMutual && c.TLS.CAFile == "":
			errs = append(errs, fmt.Errorf("tls.ca_file: is required for mutual TLS; or set %s.tls to server", s.section))
		}
	}
	return errors.Join(errs...)
}
