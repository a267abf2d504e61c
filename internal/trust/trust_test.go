//go:build unix

package trust_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/internal/trust"
)

// asOther makes this test binary read the file that it names, as the user that the test made it.
const asOther = "LEVERET_TEST_READ"

const (
	somebody = 65532 // the user that a container's program runs as
	stranger = 65531
)

func TestMain(m *testing.M) {
	if path := os.Getenv(asOther); path != "" {
		content, err := trust.ReadOwn(path)
		fmt.Print(string(content), err)
		return
	}
	testmain.Leaks(m)
}

// folder is a folder that every user can reach.
func folder(t *testing.T) string {
	t.Helper()
	return folderIn(t, "")
}

func folderIn(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "leveret-trust-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func write(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("content"), mode))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask is
	return path
}

func sub(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func link(t *testing.T, target, path string) string {
	t.Helper()
	require.NoError(t, os.Symlink(target, path))
	return path
}

func TestReadByMode(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	open, sticky := sub(t, dir+"/open", 0o777), sub(t, dir+"/sticky", 0o777|os.ModeSticky)
	group := sub(t, dir+"/group", 0o770)
	good := write(t, dir+"/good", 0o600)
	for path, refused := range map[string]string{
		good:                                    "",
		write(t, dir+"/group-writable", 0o664):  "", // as Kubernetes' fsGroup makes it
		write(t, dir+"/everyone", 0o602):        dir + "/everyone is not to be trusted: everyone may write to it (mode 0602); to keep others out: chmod o-w",
		link(t, dir+"/everyone", dir+"/link"):   dir + "/everyone is not to be trusted",
		write(t, open+"/file", 0o600):           "the folder " + open + " is not to be trusted: everyone may replace the files in it (mode 0777)",
		link(t, open+"/file", dir+"/into-open"): "the folder " + open,
		link(t, good, open+"/link"):             "the folder " + open,
		sub(t, open+"/sub", 0o700) + "/none":    "the folder " + open,
		open + "/../good":                       "the folder " + open,
		write(t, sticky+"/file", 0o600):         "",
		write(t, group+"/file", 0o640):          "",
		link(t, "good", dir+"/relative"):        "",
		link(t, "loop", dir+"/loop"):            "too many levels of symbolic links",
		good + "/below":                         "not a directory",
		dir + "/missing":                        "no such file",
		"/dev/null":                             "",
		"/dev/zero":                             "/dev/zero is larger than 4 MiB",
	} {
		for name, read := range map[string]func(string) ([]byte, error){
			"ReadOwn": func(path string) ([]byte, error) { return trust.ReadOwn(path) }, "Read": trust.Read,
		} {
			_, err := read(path)
			if refused == "" {
				require.NoError(t, err, "%s %s", name, path)
				continue
			}
			require.ErrorContains(t, err, refused, "%s %s", name, path)
			if strings.Contains(refused, "folder") {
				require.ErrorIs(t, err, trust.ErrUntrusted)
			}
		}
	}
}

func TestReadByOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		_, err := trust.ReadOwn("/etc/passwd")
		require.NoError(t, err, "root's")
		t.Log("not root: no file of another user can be made")
		return
	}
	dir := folder(t)
	sticky := sub(t, dir+"/sticky", 0o777|os.ModeSticky)
	theirs := func(path string) string {
		require.NoError(t, os.Lchown(path, stranger, stranger))
		return path
	}
	good := write(t, dir+"/good", 0o600)
	file := theirs(write(t, dir+"/file", 0o600))
	own := sub(t, dir+"/own", 0o755)
	inOwn := write(t, own+"/file", 0o600)
	theirs(own)
	inSticky, linked := theirs(write(t, sticky+"/file", 0o600)), theirs(link(t, good, sticky+"/link"))
	for path, whose := range map[string]string{
		file: file, inOwn: own, inSticky: inSticky, linked: linked, link(t, file, dir+"/to-file"): file,
	} {
		_, err := trust.ReadOwn(path)
		require.ErrorIs(t, err, trust.ErrOwner)
		require.ErrorContains(t, err, whose+" is not to be trusted: it belongs to another user (uid 65531; this user is 0)")
		_, err = trust.ReadOwn(path, 1, stranger)
		require.NoError(t, err)
		_, err = trust.Read(path)
		if filepath.Dir(path) == sticky {
			require.ErrorIs(t, err, trust.ErrOwner, "everyone may have made it")
		} else {
			require.NoError(t, err)
		}
	}
}

// The user of a container: what root mounts is trusted, what another user owns is not.
func TestReadAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: this user is the only one")
		return
	}
	dir := folderIn(t, "/tmp") // TMPDIR may be closed to other users
	root, own, other := write(t, dir+"/root", 0o644), write(t, dir+"/own", 0o600), write(t, dir+"/other", 0o644)
	require.NoError(t, os.Chown(own, somebody, somebody))
	require.NoError(t, os.Chown(other, stranger, stranger))
	for path, want := range map[string]string{
		root: "content<nil>", own: "content<nil>",
		other: other + " is not to be trusted: it belongs to another user (uid 65531; this user is 65532)",
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), asOther+"="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, want, string(out))
	}
}

// A shell's <(command) is a pipe of this user.
func TestReadAPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	_, err = w.WriteString("from a command")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	content, err := trust.ReadOwn(fmt.Sprintf("/dev/fd/%d", r.Fd()))
	require.NoError(t, err)
	require.Equal(t, "from a command", string(content))
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	fresh := dir + "/parent/fresh"
	require.NoError(t, trust.Folder(fresh))
	info, err := os.Stat(fresh)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, trust.Folder(fresh))
	require.NoError(t, trust.Folder(link(t, fresh, dir+"/link")), "this user's own link")

	for _, mode := range []os.FileMode{0o702, 0o720, 0o777 | os.ModeSticky} {
		err := trust.Folder(sub(t, fmt.Sprintf("%s/%o", dir, mode), mode))
		require.ErrorIs(t, err, trust.ErrUntrusted, "%v", mode)
		require.ErrorContains(t, err, fmt.Sprintf("(mode %04o)", mode.Perm()))
	}
	require.ErrorIs(t, trust.Folder(sub(t, dir+"/open", 0o777)+"/own"), trust.ErrUntrusted, "it can be replaced")
	require.ErrorContains(t, trust.Folder(write(t, dir+"/file", 0o600)), "not a directory")
	if os.Geteuid() != 0 {
		require.ErrorIs(t, trust.Folder("/"), trust.ErrOwner)
		return
	}
	theirs := sub(t, dir+"/theirs", 0o700)
	require.NoError(t, os.Chown(theirs, stranger, stranger))
	require.ErrorIs(t, trust.Folder(theirs), trust.ErrOwner)
	sticky := sub(t, dir+"/sticky", 0o777|os.ModeSticky)
	require.NoError(t, os.Lchown(link(t, fresh, sticky+"/link"), stranger, stranger))
	require.ErrorIs(t, trust.Folder(sticky+"/link"), trust.ErrOwner, "another user's link")
}

func TestCreateAndKeep(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode()
	}
	for _, path := range []string{dir + "/fresh", write(t, dir+"/wide", 0o666)} {
		require.NoError(t, trust.Create(path))
		require.Equal(t, os.FileMode(0o600), mode(path))
		require.NoError(t, trust.Keep(path))
	}
	require.ErrorIs(t, trust.Keep(dir+"/missing"), os.ErrNotExist)
	require.ErrorContains(t, trust.Create(link(t, dir+"/elsewhere", dir+"/link")), "link is not to be trusted: it is not a regular file")
	require.NoFileExists(t, dir+"/elsewhere")
	require.ErrorIs(t, trust.Create(dir), trust.ErrUntrusted)

	if os.Geteuid() != 0 {
		t.Log("not root: no file of another user can be made")
		return
	}
	for folder, refused := range map[string]bool{
		sub(t, dir+"/open", 0o777): true, sub(t, dir+"/sticky", 0o777|os.ModeSticky): true, sub(t, dir+"/closed", 0o755): false,
	} {
		path := write(t, folder+"/theirs", 0o666)
		require.NoError(t, os.Chown(path, stranger, stranger))
		if refused {
			require.ErrorIs(t, trust.Create(path), trust.ErrOwner)
			continue
		}
		require.NoError(t, trust.Create(path))
		require.Equal(t, os.FileMode(0o666), mode(path), "it is not ours to change")
	}
}
