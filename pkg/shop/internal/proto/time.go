package shopproto

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// toTime leaves the zero time out.
func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// fromTime returns the zero time for one that was left out.
func fromTime(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}
