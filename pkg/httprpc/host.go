package httprpc

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/internal/plain"
)

// avoidance is how long a host is left out that could not be reached, or that has said that it is about to stop.
const avoidance = time.Second

// hosts are where the other side is served.
type hosts struct {
	all  []*host
	turn atomic.Uint64
}

// A host is one of the places where the other side is served.
type host struct {
	url   *url.URL     // without a slash at its end
	until atomic.Int64 // when it may be tried again, in nanoseconds
}

func newHosts(urls []string) (*hosts, error) {
	h := &hosts{}
	if len(urls) == 0 {
		return h, errors.New("URLs is empty: say where the other side is served")
	}
	var errs []error
	for i, text := range urls {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("URLs[%d] is not a URL", i)) // it may hold a password
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "", u.User != nil:
			errs = append(errs, fmt.Errorf("URLs[%d] is %q; it must be http:// or https://, a host and at most a path", i, plain.URL(text)))
		default:
			u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
			h.all = append(h.all, &host{url: u})
		}
	}
	return h, errors.Join(errs...)
}

// next returns the host whose turn it is, without those that could not be reached a moment ago, unless all are.
func (h *hosts) next() *host {
	turn, now := h.turn.Add(1), time.Now().UnixNano()
	for i := range uint64(len(h.all)) {
		if this := h.all[(turn+i)%uint64(len(h.all))]; this.until.Load() <= now {
			return this
		}
	}
	return h.all[turn%uint64(len(h.all))]
}

// avoid leaves the host out for a moment.
func (h *host) avoid() { h.until.Store(time.Now().Add(avoidance).UnixNano()) }

// at returns the URL of a path, which is escaped, and a query.
func (h *host) at(path, query string) (*url.URL, error) {
	u := *h.url
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	u.RawPath = u.EscapedPath() + path
	u.Path += decoded
	u.RawQuery = query
	return &u, nil
}
