-- +goose Up
-- All times are microseconds since 1970, UTC. Ids are compared byte by byte, as SQLite does.
CREATE TABLE stock (
    sku      TEXT COLLATE "C" PRIMARY KEY,
    on_hand  BIGINT NOT NULL CHECK (on_hand >= 0),
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand)
);

-- One decision per order.
CREATE TABLE reservations (
    order_id    TEXT COLLATE "C" PRIMARY KEY,
    state       TEXT NOT NULL CHECK (state IN ('reserved', 'rejected', 'released', 'cancelled')),
    lines       TEXT NOT NULL, -- JSON, as in the contract
    shortages   TEXT NOT NULL, -- JSON, as in the contract; [] if the goods were set aside
    decided_at  BIGINT NOT NULL,
    released_at BIGINT,
    CHECK ((state = 'released') = (released_at IS NOT NULL))
);

-- What was taken off the shelves and, with a negative quantity, put back. The table reservations makes sure that nothing
-- is taken twice; this table exists to check that, so it deliberately has no unique key besides its own.
CREATE TABLE movements (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   TEXT COLLATE "C" NOT NULL,
    sku        TEXT COLLATE "C" NOT NULL REFERENCES stock (sku),
    quantity   BIGINT NOT NULL CHECK (quantity <> 0),
    message_id TEXT NOT NULL, -- the message that caused it
    at         BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION movements_are_only_appended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movements are only appended';
END $$;
-- +goose StatementEnd

CREATE TRIGGER movements_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
    FOR EACH STATEMENT EXECUTE FUNCTION movements_are_only_appended();

-- +goose Down
DROP TABLE movements;
DROP FUNCTION movements_are_only_appended;
DROP TABLE reservations;
DROP TABLE stock;
