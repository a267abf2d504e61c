package leveret_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDependencies pins what a program takes in with this package: the driver, ids, OpenTelemetry's API, and a
// semaphore.
func TestDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{$.ImportPath}}{{end}}", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	const own = "github.com/leveretmq/leveret"
	var modules, packages []string
	for line := range strings.Lines(string(out)) {
		module, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(path, own+"/pkg/rabbit/internal/"):
		case module == own:
			packages = append(packages, strings.TrimPrefix(path, own+"/"))
		default:
			modules = append(modules, module)
		}
	}
	slices.Sort(modules)
	slices.Sort(packages)
	require.Equal(t, []string{
		"github.com/cespare/xxhash/v2", "github.com/google/uuid", "github.com/rabbitmq/amqp091-go",
		"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/metric", "go.opentelemetry.io/otel/trace",
		"golang.org/x/sync",
	}, slices.Compact(modules))
	require.Equal(t, []string{
		"internal/plain", "pkg/internal/contexts", "pkg/internal/wire", "pkg/leveret", "pkg/rabbit", "pkg/topology",
	}, slices.Compact(packages))
}
