package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/deadletter"
)

// maxNamed is how many letters of one name are listed.
const maxNamed = 10

// find finds the letters with these names, each a message id or a fingerprint. It refuses a name that several letters
// have, unless they are the same in every respect.
func (a *App) find(ctx context.Context, letters *deadletter.Store, from deadletter.Source, names []string) ([]*deadletter.Letter, error) {
	found := make([][]*deadletter.Letter, len(names))
	r := &reading{limit: 1, pick: func(l *deadletter.Letter) bool {
		fingerprint := l.Fingerprint()
		for i, name := range names {
			same := func(other *deadletter.Letter) bool { return other.Fingerprint() == fingerprint }
			if (name == l.ID || name == fingerprint) && len(found[i]) < maxNamed && !slices.ContainsFunc(found[i], same) {
				found[i] = append(found[i], l)
			}
		}
		return false
	}}
	if err := a.readLetters(ctx, letters, from, everyLetter, r); err != nil {
		return nil, err
	}
	var all []*deadletter.Letter
	for i, name := range names {
		switch n := len(found[i]); n {
		case 0:
			return nil, Fail(ExitNotFound, fmt.Sprintf("%s dlq show %s", a.Name, nameOf(from)), "%s has no dead letter %q; it has %d", nameOf(from), name, r.seen)
		case 1:
			all = append(all, found[i][0])
		default:
			var fingerprints []string
			for _, l := range found[i] {
				fingerprints = append(fingerprints, l.Fingerprint())
			}
			more := ""
			if n == maxNamed {
				more = " and perhaps more"
			}
			return nil, Fail(ExitUsage, fmt.Sprintf("name one by its fingerprint: %s dlq show %s %s", a.Name, nameOf(from), fingerprints[0]),
				"%q is the id of several dead letters of %s: %s%s", name, nameOf(from), strings.Join(fingerprints, ", "), more)
		}
	}
	return all, nil
}
