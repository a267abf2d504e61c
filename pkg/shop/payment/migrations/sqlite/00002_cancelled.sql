-- +goose Up
-- Orders that were cancelled before they had a payment: nothing is held for them.
CREATE TABLE cancelled_orders (
    order_id     TEXT PRIMARY KEY,
    cancelled_at INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE cancelled_orders;
