package devcerts

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

// load returns the configurations of a service for serving and for calling.
func load(t *testing.T, s *Set, service string) (server, client *tls.Config) {
	t.Helper()
	pool := x509.NewCertPool()
	content, err := os.ReadFile(s.CAFile)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(content))
	own, err := tls.LoadX509KeyPair(filepath.Join(s.Dir, service+".pem"), filepath.Join(s.Dir, service+"-key.pem"))
	require.NoError(t, err)
	server = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	return server, &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool}
}

// handshake returns the errors of both sides of a mutual handshake.
func handshake(server, client *tls.Config, host string) (atServer, atClient error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client = client.Clone()
	client.ServerName = host
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).Handshake(); _ = a.Close() }()
	c := tls.Client(b, client)
	atClient = c.Handshake()
	if atClient == nil {
		_, _ = c.Read(make([]byte, 1)) // with TLS 1.3 the server's verdict comes later
	}
	_ = b.Close()
	return <-done, atClient
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	s, err := Config{Dir: t.TempDir(), Services: []string{"order", "payment"}, Hosts: []string{"gateway.local", "192.0.2.7", "2001:db8::1"}}.Make()
	require.NoError(t, err)
	require.True(t, s.CAMade)
	server, _ := load(t, s, "payment")
	_, client := load(t, s, "order")
	for _, host := range []string{"payment", "localhost", "127.0.0.1", "::1", "gateway.local", "192.0.2.7", "2001:db8::1"} {
		atServer, atClient := handshake(server, client, host)
		require.NoError(t, atServer, host)
		require.NoError(t, atClient, host)
	}
	_, atClient := handshake(server, client, "order")
	require.ErrorContains(t, atClient, "not order")

	foreign, err := Make(t.TempDir(), "order")
	require.NoError(t, err)
	_, stranger := load(t, foreign, "order")
	stranger.RootCAs = client.RootCAs
	atServer, _ := handshake(server, stranger, "payment")
	require.Error(t, atServer, "a certificate of another authority")
	stranger.Certificates = nil
	atServer, _ = handshake(server, stranger, "payment")
	require.ErrorContains(t, atServer, "client didn't provide a certificate")
}

// Only the owner reads the keys, and the authority is good for nothing but its names.
func TestWhatIsMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "certs")
	s, err := Make(dir, "order")
	require.NoError(t, err)
	require.Equal(t, []string{
		"LEVERET_TLS_CA_FILE=" + filepath.Join(dir, "ca.pem"), "LEVERET_TLS_CERT_FILE=" + filepath.Join(dir, "order.pem"),
		"LEVERET_TLS_KEY_FILE=" + filepath.Join(dir, "order-key.pem"),
	}, s.Env("order"))
	require.Nil(t, s.Env("nobody"))
	for _, key := range []string{"ca-key.pem", "order-key.pem"} {
		info, err := os.Stat(filepath.Join(dir, key))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), key)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "nothing temporary is left")
	require.WithinDuration(t, time.Now().Add(leafLife), s.Certificates[0].Expires, time.Hour)
	require.WithinDuration(t, time.Now().Add(authorityLife), s.CAExpires, time.Hour)

	ca, err := read(s.CAFile, filepath.Join(dir, "ca-key.pem"))
	require.NoError(t, err)
	require.True(t, ca.certificate.MaxPathLenZero)
	evil, err := ca.issue("example.com", nil, time.Now())
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	_, err = evil.certificate.Verify(x509.VerifyOptions{Roots: pool})
	require.ErrorContains(t, err, "not permitted")
}

func TestMakingAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := Make(dir, "order", "payment")
	require.NoError(t, err)
	before, _ := load(t, first, "order")
	second, err := Make(dir, "order")
	require.NoError(t, err)
	require.False(t, second.CAMade)
	renewed, client := load(t, second, "order")
	require.NotEqual(t, before.Certificates[0].Leaf.SerialNumber, renewed.Certificates[0].Leaf.SerialNumber)
	atServer, atClient := handshake(before, client, "order") // the old one is still good
	require.NoError(t, atServer)
	require.NoError(t, atClient)

	_, err = Make(dir, "order", "auth")
	require.ErrorContains(t, err, `is not for the name "auth"; make a new one, and new certificates for all services, with --force`)
	_, err = Config{Dir: dir, Services: []string{"order"}, Hosts: []string{"192.0.2.1"}}.Make()
	require.ErrorContains(t, err, `is not for the name "192.0.2.1"`)
	third, err := Config{Dir: dir, Services: []string{"order", "auth"}, Force: true}.Make()
	require.NoError(t, err)
	require.True(t, third.CAMade)
	_, err = Make(dir, "auth")
	require.NoError(t, err)
}

func TestWhatIsNotOverwritten(t *testing.T) {
	t.Parallel()
	foreign := func(organization string, end time.Duration) *pair {
		p, err := newAuthority([]string{"order"}, nil, time.Now().Add(end-authorityLife))
		require.NoError(t, err)
		if organization != "" {
			template := *p.certificate
			template.Subject.Organization = []string{organization}
			template.RawSubject, template.PublicKey = nil, nil
			p, err = sign(&template, nil)
			require.NoError(t, err)
		}
		return p
	}
	for name, c := range map[string]struct {
		prepare func(dir string) error
		want    string
	}{
		"another's authority": {func(dir string) error {
			return foreign("Acme", time.Hour).write(filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile))
		}, "somebody else's authority"},
		"only a certificate": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, caFile), []byte("x"), 0o600)
		}, "cannot be used"},
		"only a key": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, caKeyFile), []byte("x"), 0o600)
		}, "cannot be used"},
		"expired": {func(dir string) error {
			return foreign("", -time.Minute).write(filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile))
		}, "expired at "},
		"another's certificate": {func(dir string) error {
			if _, err := Make(dir, "order"); err != nil {
				return err
			}
			return foreign("", time.Hour).write(filepath.Join(dir, "order.pem"), filepath.Join(dir, "order-key.pem"))
		}, "order.pem is not of this authority"},
		"something else": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "order.pem"), []byte("x"), 0o600)
		}, "order.pem is not a certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, c.prepare(dir))
			before := contents(t, dir)
			_, err := Make(dir, "order")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "--force")
			require.Equal(t, before, contents(t, dir))
			_, err = Config{Dir: dir, Services: []string{"order"}, Force: true}.Make()
			require.NoError(t, err)
			_, err = Make(dir, "order")
			require.NoError(t, err)
		})
	}
}

func TestRenewing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	renew := func(services ...string) (*Set, error) {
		return Config{Dir: dir, Services: services, Renew: true}.Make()
	}
	first, err := renew("order")
	require.NoError(t, err)
	require.True(t, first.CAMade)
	second, err := renew("order")
	require.NoError(t, err)
	require.False(t, second.CAMade, "the authority is good for another certificate")
	third, err := renew("order", "auth")
	require.NoError(t, err)
	require.True(t, third.CAMade, "the authority was not for auth")

	soon, err := newAuthority([]string{"order", "auth"}, nil, time.Now().Add(leafLife-time.Hour-authorityLife))
	require.NoError(t, err)
	require.NoError(t, soon.write(first.CAFile, filepath.Join(dir, caKeyFile)))
	fourth, err := renew("order", "auth")
	require.NoError(t, err)
	require.True(t, fourth.CAMade, "the authority would have expired before the certificates")
	server, _ := load(t, fourth, "auth")
	_, client := load(t, fourth, "order")
	atServer, atClient := handshake(server, client, "auth")
	require.NoError(t, atServer)
	require.NoError(t, atClient)

	foreign, err := sign(&x509.Certificate{NotAfter: time.Now().Add(time.Hour)}, nil)
	require.NoError(t, err)
	require.NoError(t, foreign.write(filepath.Join(dir, "order.pem"), filepath.Join(dir, "order-key.pem")))
	_, err = renew("order", "auth")
	require.ErrorContains(t, err, "order.pem is not of this authority")
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(content)
	}
	return all
}

func TestWrongConfigs(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Config{
		"Dir is required":      {Services: []string{"order"}},
		"Services is empty":    {Dir: "x"},
		`the service "../x"`:   {Dir: "x", Services: []string{"../x"}},
		`the service "ca"`:     {Dir: "x", Services: []string{"ca"}},
		`the service "ca-key"`: {Dir: "x", Services: []string{"ca-key"}},
		`the host "*.x"`:       {Dir: "x", Services: []string{"order"}, Hosts: []string{"*.x"}},
		`the host "a_b"`:       {Dir: "x", Services: []string{"order"}, Hosts: []string{"a_b"}},
		`the service "Order"`:  {Dir: "x", Services: []string{"Order"}},
	} {
		_, err := c.Make()
		require.ErrorContains(t, err, want)
	}
}
