-- +goose Up
CREATE INDEX accepted_by_age ON accepted (accepted_at);

-- +goose Down
DROP INDEX accepted_by_age;
