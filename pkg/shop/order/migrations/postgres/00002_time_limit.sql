-- +goose Up
-- An order may be closing, and is checked at a time.
ALTER TABLE orders DROP CONSTRAINT orders_state_check;
ALTER TABLE orders ADD CONSTRAINT orders_state_check
    CHECK (state IN ('pending', 'placed', 'captured', 'reserved', 'closing', 'confirmed', 'cancelled'));
ALTER TABLE orders ADD COLUMN check_at BIGINT; -- when the order is looked at next; NULL if nothing is left to do
CREATE INDEX orders_to_check ON orders (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX orders_unchecked ON orders (received_at) WHERE check_at IS NULL AND decided_at IS NULL;
CREATE INDEX orders_closing ON orders (order_id) WHERE state = 'closing';

-- +goose Down
DROP INDEX orders_closing;
DROP INDEX orders_unchecked;
DROP INDEX orders_to_check;
ALTER TABLE orders DROP COLUMN check_at;
