-- +goose Up
-- All times are microseconds since 1970, UTC. Ids are compared byte by byte, as SQLite does.
CREATE TABLE orders (
    order_id         TEXT COLLATE "C" PRIMARY KEY,
    customer_id      TEXT COLLATE "C" NOT NULL,
    card_token       TEXT NOT NULL,
    lines            TEXT NOT NULL, -- JSON, as in the contract
    total            BIGINT NOT NULL CHECK (total > 0),
    currency         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('pending', 'placed', 'captured', 'reserved', 'confirmed', 'cancelled')),
    reason           TEXT NOT NULL DEFAULT '',
    authorization_id TEXT NOT NULL DEFAULT '',
    sent_at          BIGINT,          -- by the sender's clock; NULL if a foreign sender did not set it
    received_at      BIGINT NOT NULL,
    placed_at        BIGINT,
    placed_by        TEXT NOT NULL DEFAULT '', -- a message's id
    decided_at       BIGINT,
    decided_by       TEXT NOT NULL DEFAULT '', -- a message's id
    CHECK ((state = 'cancelled') = (reason <> '')),
    CHECK ((state IN ('confirmed', 'cancelled')) = (decided_at IS NOT NULL))
);

-- A customer's orders, newest first.
CREATE INDEX orders_by_customer ON orders (customer_id, received_at DESC, order_id DESC);

-- +goose Down
DROP TABLE orders;
