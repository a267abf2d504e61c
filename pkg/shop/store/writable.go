package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
)

// probeSize is how many bytes a probe writes: about as much as a handler might.
const probeSize = 32 << 10

// Writable returns an error if nothing can be written, because the disk is full or read-only, for example, or the
// server is away. It writes as much as a handler might, in a transaction of its own, and removes it in another. Use it
// as a required check.
//
// A store that is only busy is writable: if Writable gets no turn before ctx ends, it is enough that others have
// written.
func (s *Store) Writable(ctx context.Context) error {
	if err := s.kind.there(); err != nil {
		return err
	}
	commits := s.commits.Load()
	// Random, so that no file system compresses it to nothing. Together the two leave free pages in the file, which
	// handlers use up first when it cannot grow: then the probe fails no later than they do.
	room := make([]byte, probeSize)
	_, _ = rand.Read(room) // which never fails
	var id int64
	for _, probe := range []func(tx *sql.Tx) error{
		func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "INSERT INTO probes (room) VALUES ($1) RETURNING id", room).Scan(&id)
		},
		func(tx *sql.Tx) error { // and those of processes that were killed in between
			_, err := tx.ExecContext(ctx, "DELETE FROM probes WHERE id <= $1", id)
			return err
		},
	} {
		err := s.InTx(ctx, probe)
		switch {
		case err != nil && ctx.Err() != nil && s.commits.Load() != commits:
			return nil
		case err != nil:
			return fmt.Errorf("it cannot be written: %w", err)
		}
	}
	return nil
}
