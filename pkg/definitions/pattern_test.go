package definitions_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/definitions"
)

// A pattern matches the names in the set and no others, whatever is in the names.
func FuzzPattern(f *testing.F) {
	f.Add("order.place order.show order", "order.place.dlq orderXplace rder.place", "x")
	f.Add("a.b a.b.c a", "a.c a.b.c.d b a.", "a.b")
	f.Add("*.dlq a+b (x|y) [z] a$ ^b \\d", "x.dlq aab x z a b 1", "^.*$")
	f.Add(".. . a..b .a", "a.b a", "..")
	f.Fuzz(func(t *testing.T, in, out, part string) {
		var in2 []string
		set := map[string]bool{}
		for name := range strings.SplitSeq(in, " ") {
			if !strings.Contains(name, definitions.Many) {
				in2, set[name] = append(in2, name), true
			}
		}
		pattern, err := definitions.Pattern(in2)
		if err != nil {
			return // too long
		}
		allows, err := regexp.Compile(pattern)
		if err != nil {
			return // not UTF-8
		}
		for name := range set {
			require.True(t, allows.MatchString(name), "%q does not match %q", pattern, name)
		}
		others := strings.Split(out, " ")
		for name := range set {
			others = append(others, name+part, part+name, name+".", "."+name, strings.Replace(name, ".", part, 1), strings.TrimSuffix(name, part))
		}
		for _, name := range others {
			require.Equal(t, set[name], allows.MatchString(name), "%q and %q", pattern, name)
		}
	})
}

// The same with names that share much, as those of a system do.
func TestPatternsOfAlikeNames(t *testing.T) {
	t.Parallel()
	segments := []string{"a", "b", "a-b", "on", "dlq", "1s", "a+", "(", "*", "a|b", ""}
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		all := make([]string, 1+random.IntN(4))
		for i := range all {
			all[i] = segments[random.IntN(len(segments))]
		}
		return strings.Join(all, ".")
	}
	for range 500 {
		set, all := map[string]bool{}, []string{}
		for range 1 + random.IntN(12) {
			all = append(all, name())
			set[all[len(all)-1]] = true
		}
		pattern, err := definitions.Pattern(all)
		require.NoError(t, err)
		allows := regexp.MustCompile(pattern)
		for range 500 {
			other := name()
			require.Equal(t, set[other], allows.MatchString(other), "%s: %q", pattern, other)
		}
		for _, one := range all {
			require.True(t, allows.MatchString(one), "%s: %q", pattern, one)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	var long, other []string
	for i := range 100 {
		long = append(long, fmt.Sprintf("order.on.payment.event-of-many-%02d", i))
		other = append(other, fmt.Sprintf("requests.service-%02d", i))
	}
	own := "order." + definitions.Many
	for name, c := range map[string]struct {
		names []string
		want  string
	}{
		"none":            {nil, "^$"},
		"one":             {[]string{"order.place"}, `^order\.place$`},
		"a common begin":  {[]string{"order.place", "order.show", "control"}, `^(control|order\.(place|show))$`},
		"one and longer":  {[]string{"control", "control.order." + definitions.Many}, `^control(\.order\..+)?$`},
		"many between":    {[]string{"retry." + definitions.Many + ".return"}, `^retry\..+\.return$`},
		"not folded":      {[]string{"order.place", "order.show"}, `^order\.(place|show)$`},
		"too long":        {append([]string{"events", "events.order"}, long...), `^(events(\.order)?|order\..+)$`},
		"long and folded": {append([]string{"order", "orders.x"}, long...), `^(order(\..+)?|orders\.x)$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := definitions.Pattern(c.names, own)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := definitions.Pattern(append(other, long...), own)
	require.ErrorContains(t, err, "RabbitMQ takes 1000: split the service")
}
