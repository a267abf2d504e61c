-- +goose Up
-- All times are microseconds since 1970, UTC. All amounts are in minor units.
CREATE TABLE payments (
    order_id         TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL UNIQUE,
    card_token       TEXT NOT NULL,
    amount           INTEGER NOT NULL CHECK (amount > 0),
    currency         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('declined', 'authorized', 'captured', 'voided', 'refunded')),
    decline_reason   TEXT NOT NULL DEFAULT '',
    decided_at       INTEGER NOT NULL,
    captured_at      INTEGER,
    voided_at        INTEGER,
    refunded_at      INTEGER,
    CHECK ((state = 'declined') = (decline_reason <> '')),
    CHECK ((state IN ('captured', 'refunded')) = (captured_at IS NOT NULL)),
    CHECK ((state = 'voided') = (voided_at IS NOT NULL)),
    CHECK ((state = 'refunded') = (refunded_at IS NOT NULL))
) STRICT;

-- What happened to the money. The state in payments makes sure that nothing happens twice; this table exists to check
-- that, so it deliberately has no unique key besides its own.
CREATE TABLE ledger (
    id               INTEGER PRIMARY KEY,
    order_id         TEXT NOT NULL,
    authorization_id TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('authorized', 'captured', 'voided', 'refunded')),
    amount           INTEGER NOT NULL,
    currency         TEXT NOT NULL,
    message_id       TEXT NOT NULL, -- the message that caused it
    at               INTEGER NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is only appended to');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER ledger_is_not_deleted BEFORE DELETE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is only appended to');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE ledger;
DROP TABLE payments;
