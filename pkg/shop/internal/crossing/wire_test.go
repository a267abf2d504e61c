package crossing_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/leveretmq/leveret/pkg/leveret"
	paymentv1 "github.com/leveretmq/leveret/pkg/shop/internal/proto/leveret/shop/payment/v1"
)

// problem is what RFC 9457 and docs/wire.md say that an error looks like.
type problem struct {
	Type, Title, Detail, Code, Reason string
	Status                            int
	Errors                            []leveret.FieldViolation
	RetryAfter                        int64 `json:"retry_after_ms"`
}

// requireProblem checks a fault as it travels over HTTP, with its status, and over RabbitMQ, with that of its code.
func requireProblem(t *testing.T, f fault, httpStatus int, body []byte) {
	t.Helper()
	var p problem
	require.NoError(t, json.Unmarshal(body, &p), f.name)
	require.Equal(t, problem{
		Type: "about:blank", Title: f.declared.Code.String(), Detail: f.message(), Code: f.declared.Code.String(),
		Reason: f.declared.Reason, Status: httpStatus, Errors: f.declared.Fields, RetryAfter: f.delay.Milliseconds(),
	}, p, f.name)
}

// post makes a plain HTTP request to the oracle, and returns the answer with all of its body.
func post(t *testing.T, url, do string) (*http.Response, []byte) {
	t.Helper()
	body, err := json.Marshal(question{do})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(body)))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, content
}

// An HTTP client that knows nothing of Leveret gets a status and a problem.
func TestErrorsOnTheWireOfHTTP(t *testing.T) {
	t.Parallel()
	s := newStage(t, answering(blame), telemetry{}, bound(ask))
	for _, f := range faults {
		response, body := post(t, s.url+"/oracle.ask", f.name)
		want, after := f.declared.Code.HTTPStatus(), ""
		if f.unknown() {
			want = http.StatusGatewayTimeout
		}
		switch {
		case f.delay > 0:
			after = strconv.Itoa(int((f.delay + time.Second - 1) / time.Second))
		case want == http.StatusServiceUnavailable:
			after = "1"
		}
		require.Equal(t, want, response.StatusCode, f.name)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"), f.name)
		require.Equal(t, after, response.Header.Get("Retry-After"), f.name)
		requireProblem(t, f, want, body)
	}
	response, body := post(t, s.url+"/oracle.ask", "panic")
	require.Equal(t, http.StatusInternalServerError, response.StatusCode)
	require.Contains(t, string(body), `"code":"internal"`)
	require.NotContains(t, string(body), secret)
	response, body = post(t, s.url+"/oracle.ask", "it")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.JSONEq(t, `{"text":"answered it"}`, string(body))
}

// A gRPC client that knows nothing of Leveret gets a code and details.
func TestErrorsOnTheWireOfGRPC(t *testing.T) {
	t.Parallel()
	s := newStage(t, answering(blame), telemetry{}, bound(ask))
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	plain := paymentv1.NewPaymentServiceClient(conn)
	for _, f := range faults {
		_, err := plain.AuthorizePayment(t.Context(), &paymentv1.AuthorizePaymentRequest{OrderId: f.name})
		got := status.Convert(err)
		require.Equal(t, codes.Code(f.declared.Code), got.Code(), f.name)
		require.Equal(t, f.message(), got.Message(), f.name)
		var reason string
		var fields []leveret.FieldViolation
		var delay time.Duration
		for _, detail := range got.Details() {
			switch d := detail.(type) {
			case *errdetails.ErrorInfo:
				reason = d.GetReason()
				require.Equal(t, "leveret", d.GetDomain(), f.name)
			case *errdetails.BadRequest:
				for _, v := range d.GetFieldViolations() {
					fields = append(fields, leveret.FieldViolation{Field: v.GetField(), Detail: v.GetDescription()})
				}
			case *errdetails.RetryInfo:
				delay = d.GetRetryDelay().AsDuration()
			default:
				require.Fail(t, "unknown detail", "%T", d)
			}
		}
		require.Equal(t, f.declared.Reason, reason, f.name)
		require.Equal(t, f.declared.Fields, fields, f.name)
		require.Equal(t, f.delay, delay, f.name)
	}
	_, err = plain.AuthorizePayment(t.Context(), &paymentv1.AuthorizePaymentRequest{OrderId: "panic"})
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, status.Convert(err).Proto().String(), secret)
	reply, err := plain.AuthorizePayment(t.Context(), &paymentv1.AuthorizePaymentRequest{OrderId: "it"})
	require.NoError(t, err)
	require.Equal(t, "answered it", reply.GetDeclineReason())
}

// An AMQP client that knows nothing of Leveret gets a problem, too.
func TestErrorsOnTheWireOfAMQP(t *testing.T) {
	t.Parallel()
	s := newStage(t, answering(blame), telemetry{}, bound(ask))
	call := foreignAMQP(t, s.broker)
	for _, f := range faults {
		answer := call("oracle.ask", f.name)
		require.Equal(t, "application/problem+json", answer.ContentType, f.name)
		requireProblem(t, f, f.declared.Code.HTTPStatus(), answer.Body)
	}
	answer := call("oracle.ask", "panic")
	require.Contains(t, string(answer.Body), `"code":"internal"`)
	require.NotContains(t, string(answer.Body), secret)
	answer = call("oracle.ask", "it")
	require.Equal(t, "application/json", answer.ContentType)
	require.JSONEq(t, `{"text":"answered it"}`, string(answer.Body))
}

// foreignAMQP returns a function that makes a request as docs/wire.md describes it, with nothing that is optional.
func foreignAMQP(t *testing.T, broker string) func(name, do string) amqp.Delivery {
	t.Helper()
	conn, err := amqp.Dial(broker)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	ch, err := conn.Channel()
	require.NoError(t, err)
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	require.NoError(t, err)
	return func(name, do string) amqp.Delivery {
		t.Helper()
		body, err := json.Marshal(question{do})
		require.NoError(t, err)
		id := uuid.NewString()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, ch.PublishWithContext(ctx, "requests", name, true, false, amqp.Publishing{
			ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: id, Body: body,
		}))
		answer := receive(t, replies, "there is no answer")
		require.Equal(t, id, answer.CorrelationId)
		return answer
	}
}
