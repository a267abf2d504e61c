-- +goose Up
-- All times are microseconds since 1970, UTC.
CREATE TABLE stock (
    sku      TEXT PRIMARY KEY,
    on_hand  INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand)
) STRICT;

-- One decision for an order.
CREATE TABLE reservations (
    order_id   TEXT PRIMARY KEY,
    lines      TEXT NOT NULL, -- JSON, as in the contract
    shortages  TEXT NOT NULL, -- JSON, as in the contract; [] where the goods were set aside
    decided_at INTEGER NOT NULL
) STRICT;

-- What was taken from the shelves. Deliberately without a unique key but its own: that nothing is taken twice is the work
-- of reservations, and this is what that work is checked against.
CREATE TABLE movements (
    id         INTEGER PRIMARY KEY,
    order_id   TEXT NOT NULL,
    sku        TEXT NOT NULL REFERENCES stock (sku),
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    message_id TEXT NOT NULL, -- the message that made it happen
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

-- Every message that was handled, once for every time that it was.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY,
    message_id  TEXT NOT NULL,
    contract    TEXT NOT NULL,
    queue       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    handled_at  INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE deliveries;
DROP TABLE movements;
DROP TABLE reservations;
DROP TABLE stock;
