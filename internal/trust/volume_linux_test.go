package trust_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/trust"
)

// Kubernetes' volumes: the file is a link to a link, into a folder that is replaced as a whole. The volume has the mode
// 0777, but is read-only.
func TestReadFromAVolume(t *testing.T) {
	t.Parallel()
	volume := folder(t)
	sub(t, volume+"/..2026_11_29", 0o755)
	write(t, volume+"/..2026_11_29/leveret.yaml", 0o644)
	link(t, "..2026_11_29", volume+"/..data")
	path := link(t, "..data/leveret.yaml", volume+"/leveret.yaml")
	content, err := trust.ReadOwn(path)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))

	require.NoError(t, os.Chmod(volume, 0o777))
	_, err = trust.ReadOwn(path)
	require.ErrorIs(t, err, trust.ErrUntrusted)

	self, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer self.Close()
	cmd := exec.Command("/bin/sh", "-c", `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 9; exec /proc/self/fd/3`, volume)
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), asOther+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // mounts of its own
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 9 {
		require.Error(t, err)
		t.Log("this user may not mount a volume read-only")
		return
	}
	require.NoError(t, err, "%s", out)
	require.Equal(t, "content<nil>", string(out), "nobody writes to a read-only file system")
}
