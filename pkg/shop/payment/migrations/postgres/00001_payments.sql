-- +goose Up
-- All times are microseconds since 1970, UTC. All amounts are in minor units. Ids are compared byte by byte, as SQLite does.
CREATE TABLE payments (
    order_id         TEXT COLLATE "C" PRIMARY KEY,
    authorization_id TEXT NOT NULL UNIQUE,
    card_token       TEXT NOT NULL,
    amount           BIGINT NOT NULL CHECK (amount > 0),
    currency         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('declined', 'authorized', 'captured', 'voided', 'refunded')),
    decline_reason   TEXT NOT NULL DEFAULT '',
    decided_at       BIGINT NOT NULL,
    captured_at      BIGINT,
    voided_at        BIGINT,
    refunded_at      BIGINT,
    CHECK ((state = 'declined') = (decline_reason <> '')),
    CHECK ((state IN ('captured', 'refunded')) = (captured_at IS NOT NULL)),
    CHECK ((state = 'voided') = (voided_at IS NOT NULL)),
    CHECK ((state = 'refunded') = (refunded_at IS NOT NULL))
);

-- What happened to the money. The state in payments makes sure that nothing happens twice; this table exists to check
-- that, so it deliberately has no unique key besides its own.
CREATE TABLE ledger (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id         TEXT COLLATE "C" NOT NULL,
    authorization_id TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('authorized', 'captured', 'voided', 'refunded')),
    amount           BIGINT NOT NULL,
    currency         TEXT NOT NULL,
    message_id       TEXT NOT NULL, -- the message that caused it
    at               BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION ledger_is_only_appended_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only appended to';
END $$;
-- +goose StatementEnd

CREATE TRIGGER ledger_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_only_appended_to();

-- Orders that were cancelled before they had a payment: nothing is held for them.
CREATE TABLE cancelled_orders (
    order_id     TEXT COLLATE "C" PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
CREATE INDEX cancelled_orders_by_age ON cancelled_orders (cancelled_at);

-- +goose Down
DROP TABLE cancelled_orders;
DROP TABLE ledger;
DROP FUNCTION ledger_is_only_appended_to;
DROP TABLE payments;
