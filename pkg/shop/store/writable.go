package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
)

// createProbes creates the table that Writable writes to. It is empty but for the moment of a probe.
const createProbes = `CREATE TABLE IF NOT EXISTS probes (id INTEGER PRIMARY KEY, room BLOB NOT NULL) STRICT`

// Writable returns an error if nothing can be written, because the disk is full or read-only, for example. It writes as
// much as a handler might, in a transaction of its own, and removes it in another. Use it as a required check.
//
// A store that is only busy is writable: if Writable gets no turn before ctx ends, it is enough that others have
// written.
func (s *Store) Writable(ctx context.Context) error {
	// What goes to a file that is no longer at its path is lost with this process.
	switch now, err := os.Stat(s.path); {
	case err != nil:
		return fmt.Errorf("its file is gone: %w", err)
	case !os.SameFile(s.file, now):
		return fmt.Errorf("its file was replaced by another one: %s", s.path)
	}
	commits := s.commits.Load()
	// Random, so that no file system compresses it to nothing. Together the two leave free pages in the file, which
	// handlers use up first when it cannot grow: then the probe fails no later than they do.
	for _, probe := range []string{"INSERT OR REPLACE INTO probes (id, room) VALUES (1, randomblob(32768))", "DELETE FROM probes"} {
		err := s.InTx(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, probe)
			return err
		})
		switch {
		case err != nil && ctx.Err() != nil && s.commits.Load() != commits:
			return nil
		case err != nil:
			return fmt.Errorf("it cannot be written: %w", err)
		}
	}
	return nil
}
