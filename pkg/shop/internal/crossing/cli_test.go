package crossing_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// callByCommand runs "call" on the broker of the tests.
func callByCommand(t *testing.T, broker, do string) (exit cli.ExitCode, stdout, stderr string) {
	t.Helper()
	body, err := json.Marshal(question{do})
	require.NoError(t, err)
	at, err := url.Parse(broker)
	require.NoError(t, err)
	secret, _ := at.User.Password() // no flag takes it
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(secret), 0o600))
	at.User = nil
	var out, errs bytes.Buffer
	exit = cli.Run(t.Context(), cli.Config{
		Catalog: leveret.NewCatalog(oracle, guest), Name: "crossing",
		Args: []string{
			"call", "oracle.ask", string(body), "-o", "json", "--broker-url", at.String(), "--broker-password-file", password,
			"--broker-connect-timeout", patience.String(),
		},
		Streams: &term.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Env: func(string) string { return "" }},
	})
	return exit, out.String(), errs.String()
}

// The command line prints all that an error says, and its exit code says whose it is.
func TestErrorsInTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newStage(t, answering(blame), telemetry{}, bound(ask))
	byCode := make(map[leveret.Code][]fault)
	for _, f := range faults {
		if (f.declared.Fields == nil) != (f.delay == 0) {
			continue // both or neither: each run makes connections of its own
		}
		byCode[f.declared.Code] = append(byCode[f.declared.Code], f)
	}
	for code, same := range byCode {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			for _, f := range same {
				exit, out, errs := callByCommand(t, s.broker, f.name)
				require.Equal(t, cli.ExitAnswered, exit, "%s: %s", f.name, errs)
				require.Empty(t, out, f.name)
				var printed struct {
					Error struct {
						Exit       cli.ExitCode
						Kind       string
						Message    string
						Code       leveret.Code
						Reason     string
						Fields     []schema.Problem
						RetryAfter int64 `json:"retry_after_ms"`
					}
				}
				require.NoError(t, json.Unmarshal([]byte(errs), &printed), errs)
				got := printed.Error
				var fields []schema.Problem
				for _, v := range f.declared.Fields {
					fields = append(fields, schema.Problem{Path: v.Field, Message: v.Detail})
				}
				require.Equal(t, cli.ExitAnswered, got.Exit, f.name)
				require.Equal(t, "answered_with_error", got.Kind, f.name)
				require.Contains(t, got.Message, f.message(), f.name)
				require.Equal(t, f.unknown(), strings.Contains(got.Message, "outcome unknown"), f.name)
				require.Equal(t, f.declared.Code, got.Code, f.name)
				require.Equal(t, f.declared.Reason, got.Reason, f.name)
				require.Equal(t, fields, got.Fields, f.name)
				require.Equal(t, f.delay.Milliseconds(), got.RetryAfter, f.name)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		exit, out, errs := callByCommand(t, s.broker, "panic")
		require.Equal(t, cli.ExitAnswered, exit)
		require.Contains(t, errs, `"code":"internal"`)
		require.NotContains(t, out+errs, secret)
	})
	t.Run("a reply", func(t *testing.T) {
		t.Parallel()
		exit, out, errs := callByCommand(t, s.broker, "it")
		require.Equal(t, cli.ExitOK, exit, errs)
		require.JSONEq(t, `{"text":"answered it"}`, out)
	})
}
