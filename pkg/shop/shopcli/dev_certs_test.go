package shopcli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/shop/programs"
	"github.com/leveretmq/leveret/pkg/shop/shopcli"
	"github.com/leveretmq/leveret/queues"
)

// certs runs `dev certs`.
func certs(t *testing.T, args ...string) (code cli.ExitCode, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), cli.Config{
		Catalog: queues.Catalog, Name: "leveret", Args: append([]string{"dev", "certs"}, args...), Extra: shopcli.Commands(),
		Streams: &term.Streams{In: bytes.NewReader(nil), Out: &out, Err: &errs},
	})
	return code, out.String(), errs.String()
}

func TestDevCerts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	code, out, errs := certs(t, dir)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "LEVERET_TLS_CA_FILE="+filepath.Join(dir, "ca.pem"))
	require.Contains(t, errs, " authd\n")
	for _, p := range programs.All() {
		require.Contains(t, out, filepath.Join(dir, p.Service.Name()+"-key.pem"))
		require.FileExists(t, filepath.Join(dir, p.Service.Name()+".pem"))
	}
	code, out, _ = certs(t, dir, "-o", "json", "--service", "order")
	require.Zero(t, code)
	var made map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &made))
	require.Equal(t, false, made["ca_made"])
	require.Len(t, made["certificates"], 1)
	page, err := os.ReadFile("../../../docs/cli.md")
	require.NoError(t, err)
	for field := range made {
		require.Contains(t, string(page), "`"+field+"`", "docs/cli.md")
	}

	code, _, errs = certs(t, dir, "--service", "stranger")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, errs, "with --force")
	code, _, errs = certs(t, dir, "--service", "stranger", "--host", "shop.local", "--force")
	require.Zero(t, code, errs)
	require.Contains(t, errs, " stranger\n")
	code, _, errs = certs(t, dir, "--renew")
	require.Zero(t, code, errs)
	code, _, _ = certs(t)
	require.Equal(t, cli.ExitUsage, code)
}
