package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what `version` prints under -o json.
type version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (a *App) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of Go",
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

// buildVersion returns the version of the module, which Go derives from the revision if there is no tag; else "devel".
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
