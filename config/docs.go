package config

import (
	"fmt"
	"strings"
)

// Markdown returns the keys as a Markdown table, as used in the documentation.
func Markdown(keys []Key) string {
	var b strings.Builder
	b.WriteString("| key | variable | flag | type | default | what it does |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, k := range keys {
		flag := "none: a secret"
		if name := k.FlagName(); name != "" {
			flag = "`--" + name + "`"
		} else if k.NoFlag {
			flag = "none: a right"
		}
		def := ""
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		usage := k.Usage
		if len(k.OneOf) > 0 {
			usage += " (`" + strings.Join(k.OneOf, "`, `") + "`)"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", k.Name, k.EnvName(), flag, k.Type, def, strings.ReplaceAll(usage, "|", `\|`))
	}
	return b.String()
}
