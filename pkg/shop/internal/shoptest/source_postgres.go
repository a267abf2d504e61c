//go:build postgres

package shoptest

import (
	"testing"

	"github.com/leveretmq/leveret/internal/pgtest"
)

// Source returns the source of a new store, which the name distinguishes from others of the test: the path of a SQLite
// file or, with the build tag postgres, the URL of a schema.
func Source(t *testing.T, name string) string {
	t.Helper()
	return pgtest.Source(t, name)
}

// Settings returns settings with which a service's state is in a new store.
func Settings(t *testing.T, name string) map[string]string {
	t.Helper()
	return map[string]string{"database.url": pgtest.Source(t, name)}
}

// refuse and accept are the statements of Refuse and Accept.
func refuse(condition string) []string {
	return []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF " + condition + ` THEN RAISE EXCEPTION 'refused'; END IF;
			RETURN NEW;
		END $$`,
		"CREATE TRIGGER refuse BEFORE INSERT ON leveret_outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
	}
}

func accept() []string {
	return []string{"DROP TRIGGER refuse ON leveret_outbox", "DROP FUNCTION refuse()"}
}
