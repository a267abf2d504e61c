package hello_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leverettest"

	"github.com/leveretmq/leveret/examples/hello"
	hellov1 "github.com/leveretmq/leveret/examples/hello/proto/hello/v1"
)

// step is a command, with the lines that it should print. In these, … stands for anything.
type step struct {
	args  []string
	lines []*regexp.Regexp
}

// TestReadme runs the commands shown in README.md and compares their output.
func TestReadme(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	at := start(t, url)
	settings := filepath.Join(t.TempDir(), "hello.yaml")
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil, `
broker: {url: %q}
greeter: {http_url: "http://%s", grpc_address: %q}
`, url, at.HTTP, at.GRPC), 0o600))
	steps := steps(t)
	require.Len(t, steps, 13)
	for _, s := range steps {
		run := map[string]func(*testing.T, []string) string{
			"hello":   func(t *testing.T, args []string) string { t.Helper(); return commandLine(t, settings, args) },
			"curl":    func(t *testing.T, args []string) string { t.Helper(); return curl(t, at.HTTP, args) },
			"grpcurl": func(t *testing.T, args []string) string { t.Helper(); return grpcurl(t, at.GRPC, args) },
		}[s.args[0]]
		require.NotNil(t, run, "%q", s.args)
		if s.args[1] == "send" {
			printed := run(t, s.args[1:])
			require.True(t, s.shownIn(printed), "%q printed %s", s.args, printed)
			continue
		}
		// It takes a while until a message has been handled.
		shows := func() bool { return s.shownIn(run(t, s.args[1:])) }
		require.Eventually(t, shows, 2*time.Minute, 50*time.Millisecond, "%q does not print what README.md shows", s.args)
	}
}

func (s step) shownIn(printed string) bool {
	for _, line := range s.lines {
		if !line.MatchString(printed) {
			return false
		}
	}
	return true
}

// steps are the commands of all blocks of the page.
func steps(t *testing.T) []step {
	t.Helper()
	file, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var all []step
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(file, -1) {
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				command = strings.Replace(command, "go run ./cmd/hello", "hello", 1)
				args := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command, -1)
				for i := range args {
					args[i] = strings.Trim(args[i], "'")
				}
				all = append(all, step{args: args})
				continue
			}
			pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
			last := &all[len(all)-1]
			last.lines = append(last.lines, regexp.MustCompile("(?m)^"+pattern+" *$"))
		}
	}
	return all
}

// commandLine runs the command line in this process and returns its output.
func commandLine(t *testing.T, settings string, args []string) string {
	t.Helper()
	var printed bytes.Buffer
	cli.Run(t.Context(), cli.Config{
		Catalog: hello.Catalog, Name: "hello", Args: append([]string{"--config", settings}, args...),
		Streams: &term.Streams{In: strings.NewReader(""), Out: &printed, Err: &printed},
		Extra:   []cli.Extra{hello.CountCommand},
	})
	return printed.String()
}

// curl does what curl does with a URL and -s, but calls the server at another address.
func curl(t *testing.T, address string, args []string) string {
	t.Helper()
	require.Equal(t, "-s", args[0])
	url, err := url.Parse("http://" + args[1])
	require.NoError(t, err)
	require.Equal(t, "localhost:8080", url.Host)
	url.Host = address
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url.String(), nil)
	require.NoError(t, err)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// grpcurl does what grpcurl does with the method of the greeter, but calls the server at another address.
func grpcurl(t *testing.T, address string, args []string) string {
	t.Helper()
	require.Len(t, args, 5)
	require.Equal(t, []string{"-plaintext", "-d"}, args[:2])
	method := strings.TrimPrefix(hellov1.GreeterService_Count_FullMethodName, "/")
	require.Equal(t, []string{"localhost:9080", method}, args[3:])
	var request hellov1.CountRequest
	require.NoError(t, protojson.Unmarshal([]byte(args[2]), &request))
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	response, err := hellov1.NewGreeterServiceClient(conn).Count(t.Context(), &request)
	require.NoError(t, err)
	compact, err := protojson.Marshal(response)
	require.NoError(t, err)
	var printed bytes.Buffer
	require.NoError(t, json.Indent(&printed, compact, "", "  "))
	return printed.String()
}
