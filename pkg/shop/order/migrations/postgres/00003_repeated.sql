-- +goose Up
-- When what has followed from the order's status was sent once more, since it may have been lost; NULL if it was not.
ALTER TABLE orders ADD COLUMN repeated_at BIGINT;
-- Cancellations that version 0.1.0 has committed: it may not have announced them.
CREATE INDEX orders_cancelled_before ON orders (decided_at) WHERE check_at IS NULL AND state = 'cancelled' AND decided_by <> '';

-- +goose Down
DROP INDEX orders_cancelled_before;
ALTER TABLE orders DROP COLUMN repeated_at;
