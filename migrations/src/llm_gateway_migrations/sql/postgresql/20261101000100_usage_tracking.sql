-- migrate:up
-- One row for each admitted request. Meters are disjoint; null is unknown, not zero.
CREATE TABLE usage_records (
    id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    at BIGINT NOT NULL,             -- Unix milliseconds of the admission
    tenant TEXT,
    key_id TEXT,
    model TEXT NOT NULL,            -- what the client asked for
    operation TEXT NOT NULL,
    provider TEXT,
    upstream_model TEXT,
    region TEXT,
    status INTEGER NOT NULL,        -- the client's; 499 it left, 0 the gateway died
    error TEXT,
    stream BOOLEAN NOT NULL,
    cache TEXT,
    attempts INTEGER NOT NULL,
    duration_ms BIGINT NOT NULL,
    first_content_ms BIGINT,
    cost_nano BIGINT,               -- nano-dollars
    saved_nano BIGINT,
    price_version TEXT,
    input_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cache_write_1h_tokens BIGINT,
    audio_input_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    audio_output_tokens BIGINT,
    estimated BOOLEAN
);
CREATE INDEX usage_records_at ON usage_records (at);
CREATE INDEX usage_records_tenant ON usage_records (tenant, at);
CREATE INDEX usage_records_key ON usage_records (key_id, at);

-- migrate:down
DROP TABLE usage_records;
