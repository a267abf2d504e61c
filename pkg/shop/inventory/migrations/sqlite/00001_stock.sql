-- +goose Up
-- All times are microseconds since 1970, UTC.
CREATE TABLE stock (
    sku      TEXT PRIMARY KEY,
    on_hand  INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand)
) STRICT;

-- One decision per order.
CREATE TABLE reservations (
    order_id   TEXT PRIMARY KEY,
    lines      TEXT NOT NULL, -- JSON, as in the contract
    shortages  TEXT NOT NULL, -- JSON, as in the contract; [] if the goods were set aside
    decided_at INTEGER NOT NULL
) STRICT;

-- What was taken off the shelves. The table reservations makes sure that nothing is taken twice; this table exists to
-- check that, so it deliberately has no unique key besides its own.
CREATE TABLE movements (
    id         INTEGER PRIMARY KEY,
    order_id   TEXT NOT NULL,
    sku        TEXT NOT NULL REFERENCES stock (sku),
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    message_id TEXT NOT NULL, -- the message that caused it
    at         INTEGER NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER movements_are_not_changed BEFORE UPDATE ON movements BEGIN
    SELECT RAISE(ABORT, 'movements are only appended');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER movements_are_not_deleted BEFORE DELETE ON movements BEGIN
    SELECT RAISE(ABORT, 'movements are only appended');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE movements;
DROP TABLE reservations;
DROP TABLE stock;
