package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the line length of the help.
const helpWidth = 110

// usage prints a command's usage, with its flags grouped by the sections of their keys.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	width := 0
	for _, sub := range cmd.Commands() {
		width = max(width, len(sub.CommandPath()))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-*s   %s\n", width, sub.CommandPath(), sub.Short)
		}
	}
	var titles []string
	sections := map[string]*pflag.FlagSet{}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		title := "other"
		if section, _, found := strings.Cut(f.Name, "-"); found {
			title = section
		}
		if sections[title] == nil {
			sections[title] = pflag.NewFlagSet(title, pflag.ContinueOnError)
			titles = append(titles, title)
		}
		shown := *f
		if f.Value.Type() == "bool" {
			shown.Value = struct{ pflag.Value }{f.Value} // otherwise the help would show --help[=true|false]
		}
		sections[title].AddFlag(&shown)
	})
	slices.SortStableFunc(titles, func(a, b string) int { return rank(a) - rank(b) })
	for _, title := range titles {
		fmt.Fprintf(&b, "\n%s:\n%s", heading(title), sections[title].FlagUsagesWrapped(helpWidth))
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// heading returns the heading of a section.
func heading(section string) string {
	switch section {
	case "grpc":
		return "gRPC"
	case "http", "tls":
		return strings.ToUpper(section)
	default:
		return strings.ToUpper(section[:1]) + section[1:]
	}
}

// rank sorts the flags that are not settings last.
func rank(title string) int {
	if title == "other" {
		return 1
	}
	return 0
}
