package httprpc_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// TestDocs: the lines of curl in docs/http.md have the statuses that stand behind them.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/http.md")
	require.NoError(t, err)
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Routes: s.routes()})
	lines := regexp.MustCompile(`(?m)^curl -i (.*?) +# (\d{3})$`).FindAllStringSubmatch(string(page), -1)
	require.Len(t, lines, strings.Count(string(page), "\ncurl "), "every line has a status")
	require.Greater(t, len(lines), 10)
	for _, line := range lines {
		method, path, body := "", "", ""
		var headers []string
		words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(line[1], -1)
		for i := 0; i < len(words); i++ {
			switch word := strings.Trim(words[i], `'"`); word {
			case "-X":
				i++
				method = words[i]
			case "-H":
				i++
				name, value, _ := strings.Cut(strings.Trim(words[i], "'"), ": ")
				headers = append(headers, name, value)
			case "-d":
				i++
				body = strings.Trim(words[i], "'")
			default:
				path = strings.TrimPrefix(word, "$API")
			}
		}
		if body != "" && len(headers) == 0 { // curl's own
			headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
		}
		if method == "" {
			method = map[bool]string{true: "GET", false: "POST"}[body == ""]
		}
		a := ask(t, server, method+" "+path, body, headers...)
		require.Equal(t, line[2], strconv.Itoa(a.StatusCode), "%s\n%s", line[1], a.body)
	}
}
