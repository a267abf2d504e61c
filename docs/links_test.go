package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// root is the repository's folder, seen from here.
const root = ".."

// TestLinksResolve: whatever a page links to inside of the repository is there, and so is the heading behind a #.
func TestLinksResolve(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)|(?m)^\[[^\]]+\]: (\S+)`)
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for _, found := range link.FindAllStringSubmatch(withoutCode(read(t, page)), -1) {
				target := found[1] + found[2]
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				file, heading, _ := strings.Cut(target, "#")
				if file = path.Join(path.Dir(page), file); strings.HasPrefix(target, "#") {
					file = page
				}
				_, err := os.Stat(filepath.Join(root, file))
				require.NoError(t, err, "the page links to %s", target)
				if heading != "" {
					require.Contains(t, headings(read(t, file)), heading, "%s has no such heading: %s", file, target)
				}
			}
		})
	}
}

// TestFilesThatPagesNameExist: a path in `code` that begins with one of the repository's folders, or names a file of
// its top folder, is there. Patterns (*) match something, and {a,b} stands for each.
func TestFilesThatPagesNameExist(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile("`([^`\n]+)`")
	file := regexp.MustCompile(`^(\./)?(\.ci|bench|cmd|config|docs|examples|pkg|queues)/[\w./*{},-]*$` +
		`|^(Makefile|Dockerfile|LICENSE|[A-Z]+\.md|[\w-]+\.yml|go\.mod)$`)
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for _, found := range code.FindAllStringSubmatch(withoutBlocks(read(t, page)), -1) {
				if !file.MatchString(found[1]) {
					continue
				}
				for _, name := range alternatives(found[1]) {
					requireThere(t, page, name)
				}
			}
		})
	}
}

// requireThere looks for a path from the top folder, or from the page's own.
func requireThere(t *testing.T, page, name string) {
	t.Helper()
	name = strings.TrimSuffix(name, "/...")
	for _, from := range []string{root, filepath.Join(root, path.Dir(page))} {
		found, err := filepath.Glob(filepath.Join(from, name))
		require.NoError(t, err)
		if len(found) > 0 {
			return
		}
	}
	require.Fail(t, "no such file", "%s names %s", page, name)
}

// alternatives takes {a,b} apart.
func alternatives(name string) []string {
	before, rest, found := strings.Cut(name, "{")
	middle, after, closed := strings.Cut(rest, "}")
	if !found || !closed {
		return []string{name}
	}
	var all []string
	for one := range strings.SplitSeq(middle, ",") {
		all = append(all, before+one+after)
	}
	return all
}

// pages are the Markdown files of the repository, from its top folder.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "dist", "testdata"}, entry.Name()) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".md") {
			relative, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			found = append(found, filepath.ToSlash(relative))
		}
		return nil
	}))
	require.Contains(t, found, "README.md")
	return found
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	return string(text)
}

// withoutBlocks drops the fenced blocks of a page.
func withoutBlocks(page string) string {
	return regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$").ReplaceAllString(page, "")
}

// withoutCode drops `code` too: what looks like a link in it is none.
func withoutCode(page string) string {
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(withoutBlocks(page), "code")
}

// headings are what a # may name on a page, as GitHub makes it.
func headings(page string) []string {
	var all []string
	seen := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^#{1,6} +(.*)$`).FindAllStringSubmatch(withoutBlocks(page), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(line[1]))
		if n := seen[name]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", name, n))
		} else {
			all = append(all, name)
		}
		seen[name]++
	}
	return all
}
