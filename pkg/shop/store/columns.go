package store

import (
	"database/sql"
	"time"
)

// Micros converts a time to the form used in the shop's tables: microseconds since 1970, which can be sorted and
// subtracted. The zero time becomes NULL.
func Micros(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: true}
}

// Time is the inverse of Micros. It returns a time in UTC, or the zero time for NULL.
func Time(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return time.UnixMicro(us.Int64).UTC()
}

// Moment returns t as the store would return it. A handler sends such times only, so that handling a message again sends
// exactly the same content.
func Moment(t time.Time) time.Time { return Time(Micros(t)) }
