-- +goose Up
-- All times are microseconds since 1970, UTC.
CREATE TABLE users (
    user_id       TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE, -- trimmed, in lower case
    name          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'active')),
    registered_at INTEGER NOT NULL,
    announced_at  INTEGER, -- when user.registered was published
    CHECK (announced_at IS NULL OR state = 'active')
) STRICT;
CREATE INDEX users_to_announce ON users (registered_at) WHERE state = 'active' AND announced_at IS NULL;

-- +goose Down
DROP TABLE users;
