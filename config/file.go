package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/leveretmq/leveret/internal/trust"
)

const (
	// EnvFile is the environment variable that names the file to read.
	EnvFile = EnvPrefix + "CONFIG"
	// EnvOwner is the environment variable with the number of a user to whom the file may belong, besides the user who runs
	// the program, and root.
	EnvOwner = EnvPrefix + "CONFIG_OWNER"
	// FileName is the name of the file that is read by default, from the working directory or else from the folder leveret
	// in the user's configuration folder.
	FileName = "leveret.yaml"
)

// file is a settings file: its bytes for viper, and its tree for line numbers.
type file struct {
	path    string // empty if there is no file
	content []byte
	root    *yaml.Node // a mapping; nil if the file is empty
}

// openFile finds and reads the file. A file that is named explicitly must exist.
func openFile(flags *pflag.FlagSet, named string) (file, error) {
	by := ""
	if flags != nil && named == "" {
		if f := flags.Lookup(configFlag); f != nil && f.Changed {
			named, by = f.Value.String(), " (named by --"+configFlag+")"
		}
	}
	if named == "" {
		named, by = os.Getenv(EnvFile), " (named by "+EnvFile+")"
	}
	if named != "" {
		f, err := readFile(named)
		if err != nil {
			return file{}, fmt.Errorf("%w%s", err, by)
		}
		return f, nil
	}
	for _, path := range searched() {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue // whatever the folder is
		}
		return readFile(path)
	}
	return file{}, nil
}

// searched returns the paths at which a file is looked for, in order.
func searched() []string {
	paths := []string{FileName}
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return append(paths, filepath.Join(dir, "leveret", FileName))
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		paths = append(paths, filepath.Join(home, ".config", "leveret", FileName))
	}
	return paths
}

func readFile(path string) (file, error) {
	content, err := readTrusted(path)
	if err != nil {
		return file{}, fmt.Errorf("configuration: %w", err)
	}
	f := file{path: path, content: content}
	document, err := readDocument(content)
	if err != nil {
		return file{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(document.Content) == 0 {
		return f, nil
	}
	f.root = document.Content[0]
	if f.root.Kind != yaml.MappingNode && f.root.Tag != "!!null" {
		return file{}, fmt.Errorf("%s: it must consist of sections such as\nbroker:\n  url: amqp://localhost:5672", path)
	}
	return f, nil
}

// readDocument returns the only YAML document in content. Another one would be ignored, and so may be left out or empty.
func readDocument(content []byte) (first yaml.Node, err error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	for n := 0; ; n++ {
		var document yaml.Node
		switch err := d.Decode(&document); {
		case errors.Is(err, io.EOF):
			return first, nil
		case err != nil:
			return first, withoutValues(err)
		case n == 0:
			first = document
		case document.Content[0].Tag != "!!null":
			return first, fmt.Errorf("line %d: a second YAML document begins here, which would be ignored; join the two, without ---",
				document.Content[0].Line)
		}
	}
}

// readTrusted reads the file unless another user may have written it: that user could have the program send its
// messages and passwords anywhere.
func readTrusted(path string) ([]byte, error) {
	var owners []int
	if owner := os.Getenv(EnvOwner); owner != "" {
		uid, err := strconv.ParseUint(owner, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not the number of a user", EnvOwner, owner)
		}
		owners = []int{int(uid)}
	}
	content, err := trust.ReadOwn(path, owners...)
	if errors.Is(err, trust.ErrOwner) {
		err = fmt.Errorf("%w; if that user may decide what this program does, set %s to the number of the user, "+
			"otherwise give the file to this user or to root", err, EnvOwner)
	}
	return content, err
}

// withoutValues keeps the position of a YAML error and drops what the error quotes from the file, which may be a
// secret.
func withoutValues(err error) error {
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "`")
	return errors.New("it is not YAML: " + strings.TrimSpace(text))
}

func (f file) reader() io.Reader { return bytes.NewReader(f.content) }

// at returns where a key is set, as file:line.
func (f file) at(name string) (string, bool) {
	node := f.root
	for word := range strings.SplitSeq(name, ".") {
		if node = child(node, word); node == nil {
			return "", false
		}
	}
	if node.Tag == "!!null" {
		return "", false
	}
	return f.line(node), true
}

func (f file) line(node *yaml.Node) string { return fmt.Sprintf("%s:%d", f.path, node.Line) }

func child(node *yaml.Node, name string) *yaml.Node {
	node = resolve(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return resolve(node.Content[i+1])
		}
	}
	return nil
}

func resolve(node *yaml.Node) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// check checks the file itself for unknown keys, duplicate keys, and strings that YAML reads as another type. The
// values are checked by their keys.
func (f file) check(keys []Key) []error {
	if f.root == nil {
		return nil
	}
	return f.checkSection("", f.root, keys)
}

// maxFaults is how many faults of a section are reported: enough to fix, whatever the size of the file.
const maxFaults = 100

func (f file) checkSection(section string, node *yaml.Node, keys []Key) []error {
	var errs []error
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content) && len(errs) < maxFaults; i += 2 {
		key, value := node.Content[i], resolve(node.Content[i+1])
		name := strings.TrimPrefix(section+"."+key.Value, ".")
		if seen[name] {
			errs = append(errs, fmt.Errorf("%s: duplicate key %s", f.line(key), name))
		}
		seen[name] = true
		if err := f.checkKey(name, key, value, keys); err != nil {
			errs = append(errs, err...)
		}
	}
	return errs
}

func (f file) checkKey(name string, key, value *yaml.Node, keys []Key) []error {
	if strings.Contains(key.Value, ".") {
		return []error{fmt.Errorf("%s: the key %s contains a dot; write it as a section and a name", f.line(key), name)}
	}
	known := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	section := slices.ContainsFunc(keys, func(k Key) bool { return strings.HasPrefix(k.Name, name+".") })
	switch {
	case known < 0 && !section:
		return []error{fmt.Errorf("%s: %w", f.line(key), unknownKey(name, keys))}
	case section && value.Kind == yaml.MappingNode:
		return f.checkSection(name, value, keys)
	case section && value.Tag != "!!null":
		return []error{fmt.Errorf("%s: %s is a section, not a value", f.line(key), name)}
	case section:
		return nil
	}
	return f.checkQuoted(keys[known], value)
}

// checkQuoted reports strings that YAML would read as another type, and so change: 0123 becomes 83.
func (f file) checkQuoted(k Key, value *yaml.Node) []error {
	if k.Type != String && k.Type != Strings {
		return nil
	}
	for _, node := range append([]*yaml.Node{value}, value.Content...) {
		if node = resolve(node); node.Kind == yaml.ScalarNode && node.Tag != "!!str" && node.Tag != "!!null" {
			return []error{fmt.Errorf("%s: %s is a string, but YAML reads this value as another type; put it in quotes", f.line(node), k.Name)}
		}
	}
	return nil
}
