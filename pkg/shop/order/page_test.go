package order

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/queues"
)

// placeAt places an order of a customer at a time.
func (b *bundle) placeAt(t *testing.T, customer string, at time.Time) string {
	t.Helper()
	b.now = func() time.Time { return at }
	r := request()
	r.CustomerID = customer
	require.NoError(t, b.Place(t.Context(), r))
	return r.OrderID
}

func (b *bundle) page(t *testing.T, q queues.ListOrdersRequest) (ids []string, next string) {
	t.Helper()
	got := leverettest.Call(t.Context(), b.handlers, queues.ListOrders, q)
	require.NoError(t, got.Err)
	for _, o := range got.Reply.Orders {
		require.Equal(t, q.CustomerID, o.CustomerID)
		ids = append(ids, o.OrderID)
	}
	return ids, got.Reply.NextCursor
}

// TestList pages through the orders of one customer while new ones arrive. Some were received at the same moment.
func TestList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := time.Now()
	all := map[string]bool{}
	for i := range 25 {
		all[b.placeAt(t, "c-1", start.Add(time.Duration(i/3)*time.Second))] = true
		b.placeAt(t, "c-2", start)
	}
	page, _ := b.page(t, queues.ListOrdersRequest{CustomerID: "c-1"})
	require.Len(t, page, queues.DefaultPage)

	var next string
	seen := map[string]bool{}
	var times []time.Time
	page, next = b.page(t, queues.ListOrdersRequest{CustomerID: "c-1", Limit: 7})
	for pages := 1; ; pages++ {
		for _, id := range page {
			require.True(t, all[id], "an order that was not there at the start")
			require.False(t, seen[id], "an order twice")
			seen[id] = true
			o, err := b.store.Find(t.Context(), id, "c-1")
			require.NoError(t, err)
			times = append(times, o.ReceivedAt)
		}
		if next == "" {
			require.Equal(t, 4, pages)
			break
		}
		require.Len(t, page, 7)
		b.placeAt(t, "c-1", start.Add(time.Hour))
		page, next = b.page(t, queues.ListOrdersRequest{CustomerID: "c-1", Limit: 7, Cursor: next})
	}
	require.Equal(t, all, seen)
	for i := range times[1:] {
		require.False(t, times[i+1].After(times[i]), "newest first")
	}

	page, next = b.page(t, queues.ListOrdersRequest{CustomerID: "c-2", Limit: 25})
	require.Len(t, page, 25)
	require.Empty(t, next, "nothing follows a page that is just full")
	page, next = b.page(t, queues.ListOrdersRequest{CustomerID: "c-3"})
	require.Empty(t, page)
	require.Empty(t, next)
}

// TestNoOrdersAreAList: an empty page is [], not null.
func TestNoOrdersAreAList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := leverettest.Call(t.Context(), b.handlers, queues.ListOrders, queues.ListOrdersRequest{CustomerID: "c-3"})
	require.NoError(t, got.Err)
	require.JSONEq(t, `{"orders": []}`, string(got.Message.Reply))
}

func TestMalformedCursors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good := cursor{receivedAt: 7, orderID: uuid.NewString()}
	back, err := parseCursor(good.String())
	require.NoError(t, err)
	require.Equal(t, good, back)

	encoded := base64.RawURLEncoding.EncodeToString
	for _, text := range []string{
		"x", "2", "!", " ", good.String() + "=", good.String() + "x", encoded([]byte("7")), encoded([]byte("7 ")),
		encoded([]byte(" " + good.orderID)), encoded([]byte("+7 " + good.orderID)), encoded([]byte("7 ' OR 1=1")),
		encoded([]byte("99999999999999999999 " + good.orderID)),
		encoded([]byte("7 " + strings.ToUpper(good.orderID))), encoded([]byte("7 urn:uuid:" + good.orderID)),
		encoded([]byte("7 " + strings.ReplaceAll(good.orderID, "-", ""))),
	} {
		got := leverettest.Call(t.Context(), b.handlers, queues.ListOrders, queues.ListOrdersRequest{CustomerID: "c-1", Cursor: text})
		require.ErrorIs(t, got.Err, leveret.InvalidArgument, "%q", text)
		var e *leveret.Error
		require.ErrorAs(t, got.Err, &e)
		require.Equal(t, []leveret.FieldViolation{{Field: "cursor", Detail: "must be the next_cursor of an earlier page"}}, e.Fields)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{receivedAt: 7, orderID: "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41"}.String())
	f.Add("MTcg")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parseCursor(text); err == nil && text != "" {
			require.Equal(t, text, c.String())
		}
	})
}
