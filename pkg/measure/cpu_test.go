package measure_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/measure"
)

func TestCPU(t *testing.T) {
	t.Parallel()
	before, ok := measure.CPU()
	require.Equal(t, runtime.GOOS != "windows", ok)
	other, ok := measure.CPUOf(os.Getpid())
	if runtime.GOOS != "linux" {
		require.False(t, ok)
		return
	}
	require.True(t, ok)
	for used := other; used < other+20*time.Millisecond; {
		used, ok = measure.CPUOf(os.Getpid())
		require.True(t, ok)
	}
	after, _ := measure.CPU()
	require.Greater(t, after, before)
	tree, ok := measure.CPUOfTree(os.Getpid())
	require.True(t, ok)
	require.GreaterOrEqual(t, tree, other)
	parent, ok := measure.CPUOfTree(os.Getppid())
	require.True(t, ok)
	require.GreaterOrEqual(t, parent, tree)
	_, ok = measure.CPUOf(-1)
	require.False(t, ok)
	_, ok = measure.CPUOfTree(-1)
	require.False(t, ok)
}
