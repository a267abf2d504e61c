package auth

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)

// TestPlan: keys sign for 24 h, are published 1 h before, and for 6 min afterwards.
func TestPlan(t *testing.T) {
	t.Parallel()
	r := rotation{every: 24 * time.Hour, lead: time.Hour, tokenLife: 6 * time.Minute}
	at := func(hours float64) time.Time { return noon.Add(time.Duration(hours * float64(time.Hour))) }
	key := func(id string, from, end float64) signingKey {
		return signingKey{id: id, signsFrom: at(from), endsAt: at(end)}
	}
	a, b := key("a", 0, 24), key("b", 24, 48)
	for _, tc := range []struct {
		name      string
		now       float64
		keys      []signingKey
		create    bool
		signsFrom float64
		remove    []string
		published map[string]float64 // notAfter
		signer    string
	}{
		{name: "first start", create: true},
		{name: "a new key", keys: []signingKey{a}, published: map[string]float64{"a": 24.1}, signer: "a"},
		{name: "a clock that is behind", now: -0.1, keys: []signingKey{a}, published: map[string]float64{"a": 24.1}, signer: "a"},
		{name: "before the lead", now: 22.9, keys: []signingKey{a}, published: map[string]float64{"a": 24.1}, signer: "a"},
		{
			name: "the lead begins", now: 23, keys: []signingKey{a},
			create: true, signsFrom: 24, published: map[string]float64{"a": 24.1}, signer: "a",
		},
		{
			name: "late in the lead", now: 23.5, keys: []signingKey{a},
			create: true, signsFrom: 24.5, published: map[string]float64{"a": 24.6}, signer: "a",
		},
		{
			name: "after the end, tokens live", now: 24.05, keys: []signingKey{a},
			create: true, signsFrom: 25.05, published: map[string]float64{"a": 25.15}, signer: "a",
		},
		{name: "long after the end", now: 500, keys: []signingKey{a}, create: true, signsFrom: 500, remove: []string{"a"}},
		{name: "all long over", now: 500, keys: []signingKey{a, b}, create: true, signsFrom: 500, remove: []string{"a", "b"}},
		{
			name: "in the lead", now: 23.5, keys: []signingKey{a, b},
			published: map[string]float64{"a": 24.1, "b": 48.1}, signer: "a",
		},
		{
			name: "the next signs", now: 24, keys: []signingKey{a, b},
			published: map[string]float64{"a": 24.1, "b": 48.1}, signer: "b",
		},
		{
			name: "the last token of the old one", now: 24.1, keys: []signingKey{a, b},
			published: map[string]float64{"a": 24.1, "b": 48.1}, signer: "b",
		},
		{
			name: "the old one has expired", now: 24.11, keys: []signingKey{a, b},
			remove: []string{"a"}, published: map[string]float64{"b": 48.1}, signer: "b",
		},
		{
			name: "a gap", now: 24.05, keys: []signingKey{a, key("b", 25, 49)},
			published: map[string]float64{"a": 25.1, "b": 49.1}, signer: "a",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := r.plan(at(tc.now), tc.keys)
			require.Equal(t, tc.create, p.create)
			if tc.create {
				require.Equal(t, at(tc.signsFrom), p.signsFrom)
				require.Equal(t, p.signsFrom.Add(r.every), p.endsAt)
			}
			require.Equal(t, tc.remove, p.remove)
			require.Len(t, p.published, len(tc.published))
			for _, k := range p.published {
				require.WithinDuration(t, at(tc.published[k.id]), k.notAfter, time.Millisecond, k.id)
			}
			if tc.signer == "" {
				require.Nil(t, p.signer)
			} else {
				require.Equal(t, tc.signer, p.signer.id)
			}
		})
	}
}

// TestPlanOverTime runs a service for weeks, with random pauses, and checks what the rotation promises: every token can
// be verified until it expires, by a verifier that fetched the keys at any time in the lead before it was signed, or at
// any time after; the keys stay few; and none signs for long after its end.
func TestPlanOverTime(t *testing.T) {
	t.Parallel()
	const accessTTL = 5 * time.Minute
	r := rotation{every: 24 * time.Hour, lead: time.Hour, tokenLife: accessTTL + clockMargin}
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			var keys []signingKey
			made := 0
			now := noon
			type signed struct {
				key     string
				expires time.Time
			}
			var tokens []signed
			listed := map[string]time.Time{} // when a key was published first
			apply := func() keyPlan {
				p := r.plan(now, keys)
				keys = slices.DeleteFunc(keys, func(k signingKey) bool { return slices.Contains(p.remove, k.id) })
				if p.create {
					made++
					keys = append(keys, signingKey{id: fmt.Sprint(made), signsFrom: p.signsFrom, endsAt: p.endsAt})
				}
				again := r.plan(now, keys)
				require.False(t, again.create, "a second process finds nothing to do")
				require.Empty(t, again.remove)
				return again
			}
			for range 2000 {
				pause := time.Duration(random.Int64N(int64(10 * time.Minute)))
				if random.IntN(200) == 0 { // nothing runs for a while
					pause = time.Duration(random.Int64N(int64(72 * time.Hour)))
				}
				now = now.Add(pause)
				p := apply()
				require.NotNil(t, p.signer)
				require.LessOrEqual(t, len(p.published), 3)
				published := map[string]time.Time{}
				for _, k := range p.published {
					published[k.id] = k.notAfter
					if _, ok := listed[k.id]; !ok {
						listed[k.id] = now
					}
				}
				tokens = slices.DeleteFunc(tokens, func(s signed) bool { return !now.Before(s.expires) })
				tokens = append(tokens, signed{p.signer.id, now.Add(accessTTL)})
				for _, s := range tokens {
					require.Contains(t, published, s.key)
					require.False(t, s.expires.After(published[s.key]), "the key outlives its tokens")
				}
				if len(p.published) > 1 && p.signer.id != p.published[0].id {
					require.GreaterOrEqual(t, now.Sub(listed[p.signer.id]), r.lead, "a key that replaces another had its lead")
				}
				require.Less(t, now.Sub(p.signer.endsAt), r.lead+r.tokenLife)
			}
		})
	}
}
