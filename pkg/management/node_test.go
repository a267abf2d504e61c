package management_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/management"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	nodes, err := api(t).Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Contains(t, nodes[0].Name, "@")
	require.True(t, nodes[0].Running)
	require.Empty(t, nodes[0].Alarms())
	require.Empty(t, nodes[0].Partitions)
}

// A node of its own gets an alarm of each kind.
func TestAlarms(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node, err := devbroker.Start(ctx, devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close(context.WithoutCancel(ctx))) })
	c, err := node.Management()
	require.NoError(t, err)
	alarms := func() []string {
		nodes, err := c.Nodes(ctx)
		require.NoError(t, err)
		require.Len(t, nodes, 1)
		return nodes[0].Alarms()
	}
	for _, step := range []struct {
		ctl  []string
		want []string
	}{
		{[]string{"set_vm_memory_high_watermark", "0.0001"}, []string{"memory"}},
		{[]string{"set_disk_free_limit", "1000000000000000"}, []string{"memory", "disk"}},
		{[]string{"set_vm_memory_high_watermark", "0.9"}, []string{"disk"}},
	} {
		out, err := node.Ctl(ctx, step.ctl...)
		require.NoError(t, err, "%s", out)
		require.Eventually(t, func() bool { return len(alarms()) == len(step.want) }, 4*patience, 50*time.Millisecond)
		require.Equal(t, step.want, alarms())
	}
	require.Equal(t, []string{"memory", "disk"}, management.Node{MemoryAlarm: true, DiskAlarm: true}.Alarms())
}
