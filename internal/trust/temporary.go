package trust

import (
	"fmt"
	"os"
	"runtime"
)

// Temporary makes a new folder for this user's temporary files: see [os.MkdirTemp]. Its error names the folder in which it
// cannot be made, and the variable that chooses another.
func Temporary(pattern string) (string, error) {
	folder, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", fmt.Errorf("no temporary folder can be made in %s; set %s to a folder that you may write to: %w", os.TempDir(), temporaryVariable(), err)
	}
	return folder, nil
}

// temporaryVariable is the environment variable that says where temporary files are made.
func temporaryVariable() string {
	if runtime.GOOS == "windows" {
		return "TMP"
	}
	return "TMPDIR"
}
