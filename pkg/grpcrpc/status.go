package grpcrpc

import (
	"encoding/json"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// errorDomain is the domain of the google.rpc.ErrorInfo that carries an error's reason.
const errorDomain = "leveret"

// What a status may hold, in bytes. It travels in headers: its message with up to three bytes for each, all of it once
// more in base64. Together they stay below 8 KiB, which is what clients in other languages accept by default.
const (
	maxMessage = 1 << 10
	maxStatus  = 3 << 10
)

// statusOf returns an error as it travels over gRPC: the same that [leveret.EncodeProblem] lets through.
func statusOf(err error) *status.Status {
	e, ok := errors.AsType[*leveret.Error](leveret.DecodeProblem(leveret.EncodeProblem(err)))
	if !ok { // cannot be: DecodeProblem returns nothing else
		return status.New(codes.Internal, "")
	}
	s := status.New(codes.Code(e.Code), wire.Cut(e.Message, maxMessage))
	if e.Reason != "" {
		s = with(s, &errdetails.ErrorInfo{Reason: e.Reason, Domain: errorDomain})
	}
	if after := leveret.RetryDelay(e); after > 0 {
		s = with(s, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	wrong, left := &errdetails.BadRequest{}, maxStatus-proto.Size(s.Proto())
	for _, f := range e.Fields {
		violation := &errdetails.BadRequest_FieldViolation{Field: f.Field, Description: wire.Cut(f.Detail, maxMessage/4)}
		if left -= proto.Size(violation) + 8; left < 0 { // 8: what surrounds it
			break
		}
		wrong.FieldViolations = append(wrong.FieldViolations, violation)
	}
	if len(wrong.GetFieldViolations()) > 0 {
		s = with(s, wrong)
	}
	return s
}

func with(s *status.Status, detail protoadapt.MessageV1) *status.Status {
	if detailed, err := s.WithDetails(detail); err == nil { // an error is for codes.OK only
		return detailed
	}
	return s
}

// problemOf returns the other side's error that a status holds. An answer of something that does not say that it is
// Leveret may come from in between, such as a proxy, or from the gRPC library, which could not send the reply of a
// handler: where its code allows that the request was handled, it is a leveret.ErrOutcomeUnknown.
func problemOf(s *status.Status, leverets bool) error {
	problem := struct {
		Code       leveret.Code             `json:"code"`
		Reason     string                   `json:"reason"`
		Detail     string                   `json:"detail"`
		Errors     []leveret.FieldViolation `json:"errors"`
		RetryAfter int64                    `json:"retry_after_ms"`
	}{Code: leveret.Code(s.Code()), Detail: s.Message()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			problem.Reason = d.GetReason()
		case *errdetails.RetryInfo:
			problem.RetryAfter = d.GetRetryDelay().AsDuration().Milliseconds()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				problem.Errors = append(problem.Errors, leveret.FieldViolation{Field: v.GetField(), Detail: v.GetDescription()})
			}
		}
	}
	if s.Code() > codes.Unauthenticated {
		problem.Code = leveret.Unknown
	}
	if !leverets && problem.Reason == "" {
		switch s.Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.DataLoss:
			problem.Reason = leveret.ReasonOutcomeUnknown
		default:
		}
	}
	body, err := json.Marshal(problem)
	if err != nil { // cannot be: all of it is text and numbers
		return leveret.Errorf(problem.Code, "%s", problem.Detail)
	}
	return leveret.DecodeProblem(body)
}

// answered reports whether a status is the other side's, and not made on this side by the gRPC library, which has none
// of these: trailers, details, and a code of its own choice.
func answered(s *status.Status, trailer metadata.MD) bool {
	if len(trailer) > 0 || len(s.Proto().GetDetails()) > 0 {
		return true
	}
	switch s.Code() {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Unavailable:
		return false
	default:
		return true
	}
}
