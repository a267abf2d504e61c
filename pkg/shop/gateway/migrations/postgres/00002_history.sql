-- +goose Up
-- A projection of the order service's events: see history.go. Each event sets its own columns; until that of the order itself
-- has come, customer_id is empty. Times are microseconds since 1970, UTC.
CREATE TABLE order_history (
    order_id    TEXT COLLATE "C" PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    lines       TEXT NOT NULL DEFAULT '[]', -- JSON, as in the contract
    total       BIGINT NOT NULL DEFAULT 0,
    currency    TEXT NOT NULL DEFAULT '',
    placed_at   BIGINT NOT NULL DEFAULT 0,
    state       TEXT NOT NULL DEFAULT 'placed',
    reason      TEXT NOT NULL DEFAULT '',
    decided_at  BIGINT
);
CREATE INDEX order_history_by_customer ON order_history (customer_id, placed_at DESC, order_id DESC);

-- +goose Down
DROP TABLE order_history;
