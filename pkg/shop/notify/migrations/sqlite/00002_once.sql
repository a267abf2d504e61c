-- +goose Up
-- An event may be announced again, under another message id: whether an order has a notice about it is asked by its id.
CREATE INDEX notices_by_order ON notices (order_id, about);

-- +goose Down
DROP INDEX notices_by_order;
