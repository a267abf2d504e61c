-- +goose Up
-- The orders that customers were given an id for. Whether the broker has them is known only from the order service.
CREATE TABLE accepted (
    order_id    TEXT COLLATE "C" PRIMARY KEY,
    customer_id TEXT COLLATE "C" NOT NULL,
    accepted_at BIGINT NOT NULL
);
CREATE INDEX accepted_by_age ON accepted (accepted_at);

-- +goose Down
DROP TABLE accepted;
