package shopcli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// A shopper is a customer of the shop: somebody with an HTTP client, who knows nothing of Leveret.
type shopper struct {
	url    string
	client *http.Client
	email  string
	// password is made up for each run.
	password string
	userID   string

	renewing sync.Mutex // held while the shopper logs in again

	mu     sync.Mutex
	access string   // the access token; empty before the first log-in
	tokens []string // all that the shopper was given
}

// A refusal is an answer of the shop other than success.
type refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	// RetryAfter is how long to wait before the next try, in milliseconds.
	RetryAfter int64 `json:"retry_after_ms"`
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the shop answered %d %s: %s", r.Status, r.Code, r.Detail)
}

// transient reports whether a customer should try again.
func (r *refusal) transient() bool {
	return r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests || r.Status == http.StatusGatewayTimeout
}

// do makes a request until it has a final answer or ctx ends, under one idempotency key: it tries again when the shop
// asks for that, and when the connection was lost. It returns the number of tries, too.
func (s *shopper) do(ctx context.Context, method, path, key string, body []byte, into any) (tries int, err error) {
	for {
		tries++
		access := s.token()
		if path == "/log-in" {
			access = "" // one that has expired would be refused
		}
		wait, err := s.try(ctx, method, path, key, access, body, into)
		refused, answered := errors.AsType[*refusal](err)
		if answered && refused.Reason == "token_expired" {
			if err := s.renew(ctx, access); err != nil {
				return tries, err
			}
			continue
		}
		if err == nil || answered && !refused.transient() {
			return tries, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return tries, errors.Join(context.Cause(ctx), err)
		}
	}
}

// try makes a request once. If it fails, try returns how long to wait before the next one.
func (s *shopper) try(ctx context.Context, method, path, key, access string, body []byte, into any) (wait time.Duration, err error) {
	wait = 100 * time.Millisecond
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return wait, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	if access != "" {
		r.Header.Set("Authorization", "Bearer "+access)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return wait, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return wait, err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		refused := &refusal{RetryAfter: wait.Milliseconds()}
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
			refused.RetryAfter = int64(seconds) * 1000
		}
		if err := json.Unmarshal(content, refused); err != nil {
			refused.Detail = "not a problem: " + string(content[:min(len(content), 200)])
		}
		refused.Status = answer.StatusCode
		return time.Duration(refused.RetryAfter) * time.Millisecond, refused
	}
	if into == nil || len(content) == 0 {
		return 0, nil
	}
	return wait, json.Unmarshal(content, into)
}

// signUp registers the shopper and logs in.
func (s *shopper) signUp(ctx context.Context, name string) error {
	body, err := json.Marshal(map[string]string{"email": s.email, "name": name, "password": s.password})
	if err != nil {
		return err
	}
	var user struct {
		UserID string `json:"user_id"`
	}
	if _, err := s.do(ctx, http.MethodPost, "/users", "sign-up-"+s.email, body, &user); err != nil {
		return fmt.Errorf("register %s: %w", s.email, err)
	}
	s.userID = user.UserID
	return s.logIn(ctx)
}

func (s *shopper) token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access
}

// renew logs in again, unless that has been done since a token was used.
func (s *shopper) renew(ctx context.Context, used string) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.token() != used {
		return nil
	}
	return s.logIn(ctx)
}

func (s *shopper) logIn(ctx context.Context) error {
	body, err := json.Marshal(map[string]string{"email": s.email, "password": s.password})
	if err != nil {
		return err
	}
	var session struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if _, err := s.do(ctx, http.MethodPost, "/log-in", "", body, &session); err != nil {
		return fmt.Errorf("log in %s: %w", s.email, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access, s.tokens = session.Access, append(s.tokens, session.Access, session.Refresh)
	return nil
}

// orders returns the states of all of the shopper's orders, by id, as the shop lists them.
func (s *shopper) orders(ctx context.Context) (map[string]string, error) {
	states := make(map[string]string)
	for cursor := ""; ; {
		var page struct {
			Orders []struct {
				OrderID string `json:"order_id"`
				State   string `json:"state"`
			} `json:"orders"`
			Next string `json:"next_cursor"`
		}
		if _, err := s.do(ctx, http.MethodGet, "/orders?limit=100&cursor="+url.QueryEscape(cursor), "", nil, &page); err != nil {
			return nil, fmt.Errorf("list the orders of %s: %w", s.email, err)
		}
		for _, o := range page.Orders {
			if states[o.OrderID] != "" {
				return nil, fmt.Errorf("order %s is listed twice", o.OrderID)
			}
			states[o.OrderID] = o.State
		}
		if cursor = page.Next; cursor == "" {
			return states, nil
		}
	}
}
