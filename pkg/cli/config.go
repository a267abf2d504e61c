package cli

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli/term"
)

func (a *App) configCommand() *cobra.Command {
	var origin bool
	show := &cobra.Command{
		Use:   "show",
		Short: "List every setting and its value",
		Long: "List every setting and its value; secrets are hidden. A flag overrides an environment variable, which overrides the\n" +
			"configuration file, which overrides the default.",
		Args: Arguments(0, 0),
		RunE: func(*cobra.Command, []string) error { return a.showConfig(origin) },
	}
	show.Flags().BoolVar(&origin, "origin", false, "also show where each value comes from, and its flag and environment variable")
	return group("config", "Show the configuration", "", show)
}

// configLine is a setting in `config show`.
type configLine struct {
	config.Setting
	Flag string `json:"flag,omitempty"`
	Env  string `json:"env"`
}

func (a *App) showConfig(origin bool) error {
	keys := map[string]config.Key{}
	for _, k := range a.schema.Keys() {
		keys[k.Name] = k
	}
	var lines []configLine
	for _, s := range a.loaded.Settings() {
		k := keys[s.Key]
		line := configLine{Setting: s, Env: k.EnvName()}
		if k.FlagName() != "" {
			line.Flag = "--" + k.FlagName()
		}
		lines = append(lines, line)
	}
	if a.loaded.File() != "" {
		a.Note("%s", a.err.Paint(term.Dim, "file: "+a.loaded.File()))
	}
	return PrintList(a, lines, func() *term.Table {
		if !origin {
			t := term.NewTable("KEY", "VALUE")
			for _, l := range lines {
				t.Add(term.Plain(l.Key), a.settingValue(l))
			}
			a.Note("%s", a.err.Paint(term.Dim, "--origin shows where each value comes from, and its flag and environment variable"))
			return t
		}
		t := term.NewTable("KEY", "VALUE", "SOURCE", "WHERE", "VARIABLE", "FLAG")
		for _, l := range lines {
			t.Add(term.Plain(l.Key), a.settingValue(l), term.Plain(l.Source.String()), term.Plain(cmp.Or(l.Where, "-")), term.Plain(l.Env), term.Plain(cmp.Or(l.Flag, "-")))
		}
		return t
	})
}

// settingValue dims defaults, so that what was set stands out.
func (a *App) settingValue(l configLine) term.Cell {
	c := term.Plain(cmp.Or(l.Value, "-"))
	if l.Source == config.FromDefault {
		c.Paint = term.Dim
	}
	return c
}
