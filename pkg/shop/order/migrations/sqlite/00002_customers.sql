-- +goose Up
-- A customer's orders, newest first.
CREATE INDEX orders_by_customer ON orders (customer_id, received_at DESC, order_id DESC);

-- +goose Down
DROP INDEX orders_by_customer;
