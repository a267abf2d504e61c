-- +goose Up
-- An order can be cancelled: its goods are put back, or never set aside. The state is a column of its own.
ALTER TABLE reservations ADD COLUMN state TEXT NOT NULL DEFAULT 'reserved'
    CHECK (state IN ('reserved', 'rejected', 'released', 'cancelled'));
ALTER TABLE reservations ADD COLUMN released_at INTEGER CHECK ((state = 'released') = (released_at IS NOT NULL));
UPDATE reservations SET state = 'rejected' WHERE shortages <> '[]';

-- What was taken off the shelves and, with a negative quantity, put back. As before, there is no unique key but its own.
DROP TRIGGER movements_are_not_changed;
DROP TRIGGER movements_are_not_deleted;
ALTER TABLE movements RENAME TO old_movements;
CREATE TABLE movements (
    id         INTEGER PRIMARY KEY,
    order_id   TEXT NOT NULL,
    sku        TEXT NOT NULL REFERENCES stock (sku),
    quantity   INTEGER NOT NULL CHECK (quantity <> 0),
    message_id TEXT NOT NULL, -- the message that caused it
    at         INTEGER NOT NULL
) STRICT;
INSERT INTO movements SELECT id, order_id, sku, quantity, message_id, at FROM old_movements;
DROP TABLE old_movements;

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
ALTER TABLE reservations DROP COLUMN released_at;
ALTER TABLE reservations DROP COLUMN state;
