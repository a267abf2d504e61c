package gateway_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/shop/auth"
)

// When more customers log in than passwords can be checked, each of them gets an answer that says so.
func TestTooManyLogIns(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *auth.Config) {
		c.HashMemory, c.MaxHashes, c.MaxWaiting, c.UserAttempts, c.TotalAttempts = 1024, 1, 20, 60, 150
	})
	s.join(t, "ada")
	const together = 200
	answers := make([]int, together)
	var all sync.WaitGroup
	for i := range together {
		c := call{path: "/log-in", body: map[string]string{"email": "ada@example.com", "password": password}}
		if i%4 == 1 {
			c.body = map[string]string{"email": "ada@example.com", "password": "wrong" + strconv.Itoa(i)}
		}
		if i%4 == 2 {
			c.body = map[string]string{"email": "nobody" + strconv.Itoa(i) + "@example.com", "password": password}
		}
		all.Go(func() {
			r := c.request(t, s.url)
			answer, err := s.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			answers[i] = answer.StatusCode
			var p problem
			if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
				t.Error(err)
			}
			switch seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")); {
			case answer.StatusCode == http.StatusTooManyRequests && (seconds < 1 || p.RetryAfterMs < 1):
				t.Errorf("429 without the time to try again: %v", answer.Header)
			case answer.StatusCode == http.StatusTooManyRequests && p.Reason != "too_many_attempts" && p.Reason != "overloaded":
				t.Errorf("429 for the reason %q", p.Reason)
			}
		})
	}
	all.Wait()
	count := map[int]int{}
	for i, status := range answers {
		count[status]++
		require.Contains(t, []int{200, 401, 429, 504}, status) // the last on a busy machine
		require.False(t, i%4 == 1 && status == 200, "by a wrong password")
	}
	t.Logf("200: %d, 401: %d, 429: %d", count[200], count[401], count[429])
	require.Positive(t, count[200])
	require.Positive(t, count[429])
	s.requireNoSecrets(t)
}
