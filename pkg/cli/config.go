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
		Short: "Every setting with its value",
		Long: "Every setting with its value; secrets are hidden. A setting comes from a flag, else from an environment variable,\n" +
			"else from the file, else it is the default.",
		Args: Arguments(0, 0),
		RunE: func(*cobra.Command, []string) error { return a.showConfig(origin) },
	}
	show.Flags().BoolVar(&origin, "origin", false, "where each value came from, and which flag and variable set it")
	return group("config", "What the commands are configured by", "", show)
}

// configLine is a setting as `config show` prints it.
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
			a.Note("%s", a.err.Paint(term.Dim, "--origin tells where each value came from, and which flag and variable set it"))
			return t
		}
		t := term.NewTable("KEY", "VALUE", "SOURCE", "WHERE", "VARIABLE", "FLAG")
		for _, l := range lines {
			t.Add(term.Plain(l.Key), a.settingValue(l), term.Plain(l.Source.String()), term.Plain(cmp.Or(l.Where, "-")), term.Plain(l.Env), term.Plain(cmp.Or(l.Flag, "-")))
		}
		return t
	})
}

// settingValue shows what somebody has set brighter than what is a default.
func (a *App) settingValue(l configLine) term.Cell {
	c := term.Plain(cmp.Or(l.Value, "-"))
	if l.Source == config.FromDefault {
		c.Paint = term.Dim
	}
	return c
}
