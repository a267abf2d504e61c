package docs_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinksWhatItNeeds: what only tests and benchmarks use is not compiled by somebody who builds the command line.
func TestLinksWhatItNeeds(t *testing.T) {
	t.Parallel()
	listed, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "../cmd/leveret").Output()
	require.NoError(t, err)
	linked := strings.Fields(string(listed))
	require.Contains(t, linked, "github.com/rabbitmq/amqp091-go")
	for _, module := range []string{
		"github.com/Shopify/toxiproxy/v2", "github.com/rs/zerolog", "github.com/rs/xid", "gopkg.in/tomb.v1",
		"github.com/getkin/kin-openapi", "github.com/stretchr/testify", "go.uber.org/goleak", "gonum.org/v1/plot",
		"github.com/anishathalye/porcupine", "pgregory.net/rapid",
	} {
		require.NotContains(t, linked, module)
	}
}
