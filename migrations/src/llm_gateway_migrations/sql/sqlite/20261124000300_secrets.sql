-- migrate:up
-- A value is sealed with a data key of its own, which is wrapped with the master key `key_id`.
CREATE TABLE secrets (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    sealed BLOB NOT NULL,
    set_at BIGINT NOT NULL,         -- Unix milliseconds
    sealed_at BIGINT NOT NULL,      -- Unix milliseconds
    PRIMARY KEY (name, version)
);

-- migrate:down
DROP TABLE secrets;
