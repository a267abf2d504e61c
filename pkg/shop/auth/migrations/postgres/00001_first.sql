-- +goose Up
-- All times are microseconds since 1970, UTC. Ids are compared byte by byte, as SQLite does.
CREATE TABLE credentials (
    user_id    TEXT COLLATE "C" PRIMARY KEY,
    hash       TEXT NOT NULL, -- argon2id, as a PHC string
    set_at     BIGINT NOT NULL,
    changed_at BIGINT NOT NULL -- when the hash was made: later than set_at if its parameters were changed
);

CREATE TABLE sessions (
    session_id TEXT COLLATE "C" PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL,
    began_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- that of its last refresh token
    ended_at   BIGINT,
    end_reason TEXT NOT NULL DEFAULT '' CHECK (end_reason IN ('', 'logged_out', 'token_reused')),
    CHECK ((ended_at IS NULL) = (end_reason = ''))
);

CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- The refresh tokens of a session, of which the last one is unused. The tokens themselves are not stored.
CREATE TABLE refresh_tokens (
    hash       BYTEA PRIMARY KEY, -- SHA-256
    session_id TEXT COLLATE "C" NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT,
    used_by    TEXT NOT NULL DEFAULT '', -- the message that it was exchanged by
    salt       BYTEA, -- from which, with the token itself, the next token was derived
    successor  BYTEA, -- the hash of the next token
    CHECK ((used_at IS NULL) = (salt IS NULL) AND (used_at IS NULL) = (successor IS NULL))
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

CREATE TABLE signing_keys (
    key_id     TEXT COLLATE "C" PRIMARY KEY,
    seed       BYTEA NOT NULL, -- the private Ed25519 key
    signs_from BIGINT NOT NULL UNIQUE,
    ends_at    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE signing_keys;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE credentials;
