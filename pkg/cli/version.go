package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what `version` writes under -o json.
type version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (a *App) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "The version of this program, and of the Go that built it",
		Args:  Arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := version{a.Version, runtime.Version()}
			if a.Format() != FormatText {
				return a.PrintJSON(v)
			}
			return a.Printf("%s version %s, %s\n", a.Name, v.Version, v.Go)
		},
	}
	NeedsNothing(cmd)
	return cmd
}

// buildVersion is what the build knows of the program's version: the module's, which Go makes from the revision where
// there is no tag, else "devel".
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
