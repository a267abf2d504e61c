-- +goose Up
CREATE INDEX cancelled_orders_by_age ON cancelled_orders (cancelled_at);

-- +goose Down
DROP INDEX cancelled_orders_by_age;
