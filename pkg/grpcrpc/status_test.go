package grpcrpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// Every code, with and without a reason, fields and a delay, is on the caller's side what it was in the handler, and a
// client of generated code sees it too.
func TestErrorsTravel(t *testing.T) {
	t.Parallel()
	fields := []leveret.FieldViolation{{Field: "lines[0].quantity", Detail: "must be at least 1"}, {Field: "name", Detail: "größer als 日本"}}
	var all []*leveret.Error
	var delays []time.Duration
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		for _, reason := range []string{"", "card_declined", leveret.ReasonOutcomeUnknown} {
			for _, fields := range [][]leveret.FieldViolation{nil, fields} {
				for _, delay := range []time.Duration{0, 1500 * time.Millisecond} {
					all = append(all, &leveret.Error{Code: code, Reason: reason, Message: fmt.Sprintf("no %d: 100 %% ✓", len(all)), Fields: fields})
					delays = append(delays, delay)
				}
			}
		}
	}
	k := newKitchen(leveret.Idempotent())
	address := k.start(t, func(_ context.Context, q question) (question, error) {
		if err := error(all[q.N]); delays[q.N] == 0 {
			return question{}, err
		}
		return question{}, leveret.RetryAfter(delays[q.N], all[q.N])
	}, grpcrpc.ServerConfig{Instance: "here/1"})
	c, plain := k.caller(t, address), testv1.NewTestServiceClient(foreign(t, address))
	for i, want := range all {
		m, _, err := k.call(t.Context(), c, question{N: int64(i)})
		targets := []error{want.Code}
		if want.Reason != "" {
			targets = append(targets, want)
		}
		if want.Reason == leveret.ReasonOutcomeUnknown {
			targets = append(targets, leveret.ErrOutcomeUnknown)
		}
		e := requireRemote(t, err, targets...)
		require.Equal(t, want.Fields, e.Fields)
		require.Equal(t, want.Reason, e.Reason)
		require.Equal(t, want.Message, e.Message)
		require.Equal(t, delays[i], leveret.RetryDelay(err))
		require.Equal(t, "test@here/1", m.AnsweredBy)

		_, err = plain.Ask(t.Context(), &testv1.AskRequest{N: int64(i)})
		s := status.Convert(err)
		require.Equal(t, codes.Code(want.Code), s.Code())
		require.Equal(t, want.Message, s.Message())
		var expected []string
		if want.Reason != "" {
			expected = append(expected, want.Reason+" leveret")
		}
		if delays[i] > 0 {
			expected = append(expected, "1.5s")
		}
		for _, f := range want.Fields {
			expected = append(expected, f.Field+" "+f.Detail)
		}
		require.Equal(t, expected, details(s))
	}
}

// details returns a status's details as text.
func details(s *status.Status) (all []string) {
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			all = append(all, d.GetReason()+" "+d.GetDomain())
		case *errdetails.RetryInfo:
			all = append(all, d.GetRetryDelay().AsDuration().String())
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				all = append(all, v.GetField()+" "+v.GetDescription())
			}
		default:
			all = append(all, fmt.Sprint(d))
		}
	}
	return all
}

// What else an error may be: without a code, wrapped, of the context, a panic, a doubt, and a refusal of a payload.
func TestOtherErrorsTravel(t *testing.T) {
	t.Parallel()
	declined := leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")
	k := newKitchen()
	address := k.start(t, func(_ context.Context, q question) (question, error) {
		switch q.Do {
		case "plain":
			return q, errors.New("broken")
		case "wrapped":
			return q, fmt.Errorf("card 7: %w", declined)
		case "context":
			return q, context.DeadlineExceeded
		case "panic":
			panic("hunter2")
		case "doubt":
			return q, fmt.Errorf("the bank: %w", leveret.ErrUnconfirmed)
		case "bad code":
			return q, &leveret.Error{Code: 200, Message: "x"}
		default:
			return q, nil
		}
	}, grpcrpc.ServerConfig{})
	c, plain := k.caller(t, address), testv1.NewTestServiceClient(foreign(t, address))
	for do, want := range map[string][]error{
		"plain": {leveret.Unknown}, "wrapped": {declined, leveret.FailedPrecondition}, "context": {leveret.DeadlineExceeded, context.DeadlineExceeded},
		"panic": {leveret.Internal}, "doubt": {leveret.Unavailable, leveret.ErrOutcomeUnknown}, "bad code": {leveret.Unknown},
	} {
		_, _, err := k.call(t.Context(), c, question{Do: do})
		requireRemote(t, err, want...)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := plain.Ask(t.Context(), &testv1.AskRequest{N: -1})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, []string{"n must not be negative"}, details(status.Convert(err)))
}

// An error of any size arrives at a client that takes 8 KiB of headers.
func TestLargeErrorsArrive(t *testing.T) {
	t.Parallel()
	large := &leveret.Error{
		Code: leveret.InvalidArgument, Reason: strings.Repeat("r", 1000), Message: strings.Repeat("日", 10_000),
		Fields: make([]leveret.FieldViolation, 500),
	}
	for i := range large.Fields {
		large.Fields[i] = leveret.FieldViolation{Field: strings.Repeat("f", 1000), Detail: strings.Repeat("日", 1000)}
	}
	k := newKitchen()
	address := k.start(t, func(context.Context, question) (question, error) {
		return question{}, leveret.RetryAfter(time.Hour, large)
	}, grpcrpc.ServerConfig{Instance: strings.Repeat("i", 100)})
	c := k.callerOf(t, grpcrpc.CallerConfig{Addresses: []string{address}, Options: []grpc.DialOption{grpc.WithMaxHeaderListSize(8 << 10)}})
	_, _, err := k.call(t.Context(), c, question{})
	e := requireRemote(t, err, leveret.InvalidArgument)
	require.NotEmpty(t, e.Fields)
	require.True(t, strings.HasPrefix(e.Message, "日日"))
	require.Equal(t, time.Hour, leveret.RetryDelay(err))
}
