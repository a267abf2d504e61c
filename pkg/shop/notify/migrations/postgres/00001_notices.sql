-- +goose Up
-- What would be sent to customers. An event is identified by its message id; the other two columns of the key keep events
-- apart whose sender gave them no id.
CREATE TABLE notices (
    message_id TEXT COLLATE "C" NOT NULL,
    about      TEXT COLLATE "C" NOT NULL, -- the name of the event
    order_id   TEXT COLLATE "C" NOT NULL,
    text       TEXT NOT NULL,
    at         BIGINT NOT NULL, -- microseconds since 1970, UTC
    PRIMARY KEY (message_id, about, order_id)
);

-- +goose Down
DROP TABLE notices;
