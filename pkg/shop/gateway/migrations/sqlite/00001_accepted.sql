-- +goose Up
-- The orders that customers were given an id for. Whether the broker has them is known only from the order service.
CREATE TABLE accepted (
    order_id    TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    accepted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
