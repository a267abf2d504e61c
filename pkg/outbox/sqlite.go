package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
)

// howToOpen is how a SQLite database is opened, with the driver modernc.org/sqlite.
const howToOpen = `sql.Open("sqlite", "file:orders.db?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"), then db.SetMaxOpenConns(1)`

// check warns of what is wrong in how a SQLite database was opened.
func (d *dialect) check(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	if d.name != "SQLite" {
		return nil
	}
	var patience int
	var journal, file string
	err := db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&patience)
	if err == nil {
		err = db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal)
	}
	if err == nil {
		err = db.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file)
	}
	if err != nil {
		return fmt.Errorf("look how the database was opened: %w", err)
	}
	warn := func(wrong, why string) {
		log.WarnContext(ctx, "the outbox's SQLite database is not opened as it should be", "wrong", wrong, "why", why, "open", howToOpen)
	}
	if most := db.Stats().MaxOpenConnections; most != 1 {
		warn("the pool may have more than one connection", "transactions that write fail with SQLITE_BUSY instead of waiting for each other")
	}
	if patience == 0 {
		warn("there is no busy_timeout", "a transaction fails with SQLITE_BUSY while another process writes")
	}
	if file != "" && !strings.EqualFold(journal, "wal") { // a database in memory has none
		warn("journal_mode is "+journal+", not WAL", "readers make writers wait, and each commit is slow")
	}
	return nil
}
