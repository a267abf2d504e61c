package comparand

import (
	"context"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// StoreEffects reads the effects of receivers that store: the entries of the payment service's ledger, to which nothing
// but a movement of money is added, and which no index keeps from holding one twice. When an effect was complete is
// taken from the receivers' logs, since an entry's own time is that before its transaction.
//
// It is not safe for concurrent use.
type StoreEffects struct {
	path    string
	log     *measure.EffectReader
	last    int64                // the last entry that was read
	done    map[string]time.Time // from the log, by id
	waiting []entry
}

// entry is an entry of the ledger whose line in the log has not come yet.
type entry struct {
	id   string
	at   time.Time
	read time.Time
}

// patience is how long the line is waited for: a receiver may have been killed before it wrote it.
const patience = 500 * time.Millisecond

// NewStoreEffects reads the store at path, and the logs that a pattern matches.
func NewStoreEffects(path, pattern string) *StoreEffects {
	return &StoreEffects{path: path, log: measure.NewEffectReader(pattern), done: make(map[string]time.Time)}
}

// Effects returns the effects since the last time.
func (s *StoreEffects) Effects(ctx context.Context) ([]measure.Effect, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	lines, err := s.log.Effects(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		s.done[l.ID] = l.At
	}
	var effects []measure.Effect
	s.waiting = slices.DeleteFunc(s.waiting, func(e entry) bool {
		at, ok := s.done[e.id]
		if !ok && time.Since(e.read) < patience {
			return false
		}
		if !ok {
			at = e.at
		}
		delete(s.done, e.id)
		effects = append(effects, measure.Effect{ID: e.id, At: at})
		return true
	})
	return effects, nil
}

// read reads the new entries.
func (s *StoreEffects) read(ctx context.Context) error {
	return store.View(ctx, s.path, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT id, message_id, at FROM ledger WHERE id > $1 ORDER BY id", s.last)
		if err != nil {
			return err
		}
		defer rows.Close()
		now := time.Now()
		for rows.Next() {
			e := entry{read: now}
			var micros int64
			if err := rows.Scan(&s.last, &e.id, &micros); err != nil {
				return err
			}
			e.at = time.UnixMicro(micros)
			s.waiting = append(s.waiting, e)
		}
		return rows.Err()
	})
}
