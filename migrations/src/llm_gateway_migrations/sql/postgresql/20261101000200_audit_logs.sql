-- migrate:up
-- Each record holds the hash of the one before it in its chain; a chain is a host's file.
CREATE TABLE audit_records (
    chain TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,             -- Unix milliseconds
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor TEXT,
    tenant TEXT,
    subject TEXT,
    request_id TEXT,
    peer TEXT,
    detail TEXT NOT NULL,           -- JSON
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_records_at ON audit_records (at);
CREATE INDEX audit_records_tenant ON audit_records (tenant, at);

-- migrate:down
DROP TABLE audit_records;
