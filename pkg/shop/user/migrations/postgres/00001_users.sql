-- +goose Up
-- All times are microseconds since 1970, UTC. Ids are compared byte by byte, as SQLite does.
CREATE TABLE users (
    user_id       TEXT COLLATE "C" PRIMARY KEY,
    email         TEXT COLLATE "C" NOT NULL UNIQUE, -- trimmed, in lower case
    name          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'active')),
    registered_at BIGINT NOT NULL,
    announced_at  BIGINT, -- when user.registered was published
    CHECK (announced_at IS NULL OR state = 'active')
);
CREATE INDEX users_to_announce ON users (registered_at) WHERE state = 'active' AND announced_at IS NULL;

-- +goose Down
DROP TABLE users;
