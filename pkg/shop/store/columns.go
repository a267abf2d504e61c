package store

import (
	"database/sql"
	"time"
)

// Micros is how the shop's tables keep a moment: in microseconds since 1970, which sorts and subtracts. The zero time
// is NULL.
func Micros(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: true}
}

// Time reads what Micros wrote, in UTC; the zero time for NULL.
func Time(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return time.UnixMicro(us.Int64).UTC()
}

// Moment is t as it comes back from a store: what is sent at first must be what is sent when the message comes again.
func Moment(t time.Time) time.Time { return Time(Micros(t)) }
