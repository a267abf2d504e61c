-- +goose Up
-- All times are microseconds since 1970, UTC.
CREATE TABLE orders (
    order_id         TEXT PRIMARY KEY,
    customer_id      TEXT NOT NULL,
    card_token       TEXT NOT NULL,
    lines            TEXT NOT NULL, -- JSON, as in the contract
    total            INTEGER NOT NULL CHECK (total > 0),
    currency         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('pending', 'placed', 'captured', 'reserved', 'confirmed', 'cancelled')),
    reason           TEXT NOT NULL DEFAULT '',
    authorization_id TEXT NOT NULL DEFAULT '',
    sent_at          INTEGER,          -- by the sender's clock; NULL if a foreign sender did not set it
    received_at      INTEGER NOT NULL,
    placed_at        INTEGER,
    placed_by        TEXT NOT NULL DEFAULT '', -- a message's id
    decided_at       INTEGER,
    decided_by       TEXT NOT NULL DEFAULT '', -- a message's id
    CHECK ((state = 'cancelled') = (reason <> '')),
    CHECK ((state IN ('confirmed', 'cancelled')) = (decided_at IS NOT NULL))
) STRICT;

-- +goose Down
DROP TABLE orders;
