-- +goose Up
-- An order may be closing, and is checked at a time. SQLite cannot change a CHECK of a table, so it is copied.
CREATE TABLE orders_new (
    order_id         TEXT PRIMARY KEY,
    customer_id      TEXT NOT NULL,
    card_token       TEXT NOT NULL,
    lines            TEXT NOT NULL, -- JSON, as in the contract
    total            INTEGER NOT NULL CHECK (total > 0),
    currency         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('pending', 'placed', 'captured', 'reserved', 'closing', 'confirmed', 'cancelled')),
    reason           TEXT NOT NULL DEFAULT '',
    authorization_id TEXT NOT NULL DEFAULT '',
    sent_at          INTEGER,          -- by the sender's clock; NULL if a foreign sender did not set it
    received_at      INTEGER NOT NULL,
    placed_at        INTEGER,
    placed_by        TEXT NOT NULL DEFAULT '', -- a message's id
    decided_at       INTEGER,
    decided_by       TEXT NOT NULL DEFAULT '', -- a message's id
    check_at         INTEGER,          -- when the order is looked at next; NULL if nothing is left to do
    CHECK ((state = 'cancelled') = (reason <> '')),
    CHECK ((state IN ('confirmed', 'cancelled')) = (decided_at IS NOT NULL))
) STRICT;
INSERT INTO orders_new (order_id, customer_id, card_token, lines, total, currency, state, reason, authorization_id, sent_at, received_at,
        placed_at, placed_by, decided_at, decided_by)
    SELECT order_id, customer_id, card_token, lines, total, currency, state, reason, authorization_id, sent_at, received_at,
        placed_at, placed_by, decided_at, decided_by FROM orders;
DROP TABLE orders;
ALTER TABLE orders_new RENAME TO orders;
CREATE INDEX orders_by_customer ON orders (customer_id, received_at DESC, order_id DESC);
CREATE INDEX orders_to_check ON orders (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX orders_unchecked ON orders (received_at) WHERE check_at IS NULL AND decided_at IS NULL;
CREATE INDEX orders_closing ON orders (order_id) WHERE state = 'closing';

-- +goose Down
DROP INDEX orders_closing;
DROP INDEX orders_unchecked;
DROP INDEX orders_to_check;
ALTER TABLE orders DROP COLUMN check_at;
