package httprpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// BenchmarkCall compares a call with what a careful user of net/http would write: the same payload, an idempotency key,
// a deadline that travels, and a bounded body.
func BenchmarkCall(b *testing.B) {
	s := newShop(leveret.HandlersConfig{})
	payload := cart{OrderID: uuid.NewString(), Lines: []line{{"TEA-GREEN"}, {"TEA-BLACK"}}}
	b.Run("httprpc", func(b *testing.B) {
		caller := newCaller(b, httprpc.CallerConfig{Service: s.caller, URLs: []string{s.server(b, httprpc.ServerConfig{}).URL}})
		b.ReportAllocs()
		for b.Loop() {
			_, err := s.place.Call(b.Context(), caller, payload)
			require.NoError(b, err)
		}
	})
	b.Run("bare", func(b *testing.B) {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /orders", bare)
		server := serve(b, mux)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
		b.Cleanup(client.CloseIdleConnections)
		b.ReportAllocs()
		for b.Loop() {
			require.NoError(b, callBare(b.Context(), client, server.URL+"/orders", payload))
		}
	})
}

func bare(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), leveret.DefaultTimeout)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	var c cart
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil || ctx.Err() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c)
}

func callBare(ctx context.Context, client *http.Client, url string, payload cart) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", uuid.NewString())
	r.Header.Set("Leveret-Timeout-Ms", "10000")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, &payload)
}
