package auth

import (
	"slices"
	"time"
)

// clockMargin is how much longer than its last token a key is published, for clocks that differ.
const clockMargin = 30 * time.Second

// A signingKey signs access tokens from a moment on, until the next one does, which should be at endsAt.
type signingKey struct {
	id                string
	seed              []byte // of the Ed25519 key
	signsFrom, endsAt time.Time
}

// rotation says when keys change.
type rotation struct {
	every     time.Duration // how long a key signs
	lead      time.Duration // how long it is published before that
	tokenLife time.Duration // how long it is published after that
}

// A keyPlan is what to do with the keys.
type keyPlan struct {
	// create says that a new key is needed, which signs from signsFrom to endsAt.
	create            bool
	signsFrom, endsAt time.Time
	// remove holds the ids of keys whose last token has expired.
	remove []string
	// published are the other keys, and when their last tokens will have expired.
	published []publishedKey
	// signer is the key that signs now; nil if there is none until the new key is there.
	signer *signingKey
}

type publishedKey struct {
	signingKey
	notAfter time.Time
}

// plan decides what to do at now with keys that are sorted by signsFrom.
//
//   - A key signs until the next one does. It is published from when it is made, until its last token has expired.
//   - The next key is made when the last one will be replaced within the lead. If that is late, since no process ran,
//     the last key signs for longer, so that the next one still has its lead.
//   - If every key has expired, or there is none, a new one signs at once: verifiers fetch a key that they do not know.
//   - If all keys sign later, for a clock that is behind, the first one signs.
func (r rotation) plan(now time.Time, keys []signingKey) keyPlan {
	var p keyPlan
	end := now // of the last key
	if n := len(keys); n > 0 {
		end = keys[n-1].endsAt
	}
	switch {
	case len(keys) == 0, now.After(end.Add(r.tokenLife)):
		p.create, p.signsFrom = true, now
	case !now.Before(end.Add(-r.lead)):
		p.create, p.signsFrom = true, end
		if earliest := now.Add(r.lead); earliest.After(end) {
			p.signsFrom, end = earliest, earliest
		}
	}
	p.endsAt = p.signsFrom.Add(r.every)
	for i, k := range keys {
		until := end
		if i+1 < len(keys) {
			until = keys[i+1].signsFrom
		}
		if notAfter := until.Add(r.tokenLife); now.After(notAfter) {
			p.remove = append(p.remove, k.id)
		} else {
			p.published = append(p.published, publishedKey{k, notAfter})
		}
	}
	for _, k := range slices.Backward(p.published) {
		if !k.signsFrom.After(now) {
			p.signer = &k.signingKey
			return p
		}
	}
	if len(p.published) > 0 {
		p.signer = &p.published[0].signingKey
	}
	return p
}
