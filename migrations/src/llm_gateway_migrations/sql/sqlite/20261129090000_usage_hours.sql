-- migrate:up
-- What is used by hour, so that a budget of a month does not add up a month's records. Triggers keep
-- it with whatever writes a record, in the same transaction: a record that is written twice
-- counts once. Records that are deleted stay in it. What belongs to no tenant and no key is not in it.
CREATE TABLE usage_hours (
    hour BIGINT NOT NULL,           -- its begin, Unix milliseconds; 0: all before the hours kept
    tenant TEXT NOT NULL,           -- '' for none, and where the tenant was erased
    key_id TEXT NOT NULL,           -- likewise
    model TEXT NOT NULL,            -- what the client asked for
    part INTEGER NOT NULL,          -- always 0 here
    requests BIGINT NOT NULL,       -- that a deployment was asked to answer
    tokens BIGINT NOT NULL,         -- of all meters
    cost_nano BIGINT NOT NULL,      -- nano-dollars
    PRIMARY KEY (tenant, hour, key_id, model, part)
) WITHOUT ROWID;
CREATE INDEX usage_hours_hour ON usage_hours (hour);
CREATE INDEX usage_hours_key ON usage_hours (key_id, hour);
CREATE TRIGGER usage_hours_insert AFTER INSERT ON usage_records
WHEN (new.tenant IS NOT NULL OR new.key_id IS NOT NULL)
    AND (new.attempts > 0 OR new.cost_nano <> 0
    OR COALESCE(new.input_tokens, 0) + COALESCE(new.cache_read_tokens, 0)
    + COALESCE(new.cache_write_tokens, 0) + COALESCE(new.cache_write_1h_tokens, 0)
    + COALESCE(new.audio_input_tokens, 0) + COALESCE(new.output_tokens, 0)
    + COALESCE(new.reasoning_tokens, 0) + COALESCE(new.audio_output_tokens, 0) <> 0)
BEGIN
    INSERT INTO usage_hours (hour, tenant, key_id, model, part, requests, tokens, cost_nano)
    VALUES (new.at / 3600000 * 3600000, COALESCE(new.tenant, ''), COALESCE(new.key_id, ''),
        new.model, 0, new.attempts > 0,
        COALESCE(new.input_tokens, 0) + COALESCE(new.cache_read_tokens, 0)
        + COALESCE(new.cache_write_tokens, 0) + COALESCE(new.cache_write_1h_tokens, 0)
        + COALESCE(new.audio_input_tokens, 0) + COALESCE(new.output_tokens, 0)
        + COALESCE(new.reasoning_tokens, 0) + COALESCE(new.audio_output_tokens, 0),
        COALESCE(new.cost_nano, 0))
    ON CONFLICT (tenant, hour, key_id, model, part) DO UPDATE SET
        requests = requests + excluded.requests,
        tokens = tokens + excluded.tokens,
        cost_nano = cost_nano + excluded.cost_nano;
END;
-- A request that was taken for abandoned has ended after all; or amounts were corrected by hand.
CREATE TRIGGER usage_hours_update
AFTER UPDATE OF attempts, cost_nano,
    input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, audio_input_tokens,
    output_tokens, reasoning_tokens, audio_output_tokens
    ON usage_records
WHEN (new.tenant IS NOT NULL OR new.key_id IS NOT NULL)
BEGIN
    INSERT INTO usage_hours (hour, tenant, key_id, model, part, requests, tokens, cost_nano)
    VALUES (new.at / 3600000 * 3600000, COALESCE(new.tenant, ''), COALESCE(new.key_id, ''),
        new.model, 0, (new.attempts > 0) - (old.attempts > 0),
        COALESCE(new.input_tokens, 0) + COALESCE(new.cache_read_tokens, 0)
        + COALESCE(new.cache_write_tokens, 0) + COALESCE(new.cache_write_1h_tokens, 0)
        + COALESCE(new.audio_input_tokens, 0) + COALESCE(new.output_tokens, 0)
        + COALESCE(new.reasoning_tokens, 0) + COALESCE(new.audio_output_tokens, 0)
        - (COALESCE(old.input_tokens, 0) + COALESCE(old.cache_read_tokens, 0)
        + COALESCE(old.cache_write_tokens, 0) + COALESCE(old.cache_write_1h_tokens, 0)
        + COALESCE(old.audio_input_tokens, 0) + COALESCE(old.output_tokens, 0)
        + COALESCE(old.reasoning_tokens, 0) + COALESCE(old.audio_output_tokens, 0)),
        COALESCE(new.cost_nano, 0) - COALESCE(old.cost_nano, 0))
    ON CONFLICT (tenant, hour, key_id, model, part) DO UPDATE SET
        requests = requests + excluded.requests,
        tokens = tokens + excluded.tokens,
        cost_nano = cost_nano + excluded.cost_nano;
END;
INSERT INTO usage_hours (hour, tenant, key_id, model, part, requests, tokens, cost_nano)
SELECT r.at / 3600000 * 3600000, COALESCE(r.tenant, ''), COALESCE(r.key_id, ''), r.model, 0,
    COALESCE(SUM(CASE WHEN r.attempts > 0 THEN 1 ELSE 0 END), 0),
    COALESCE(SUM(r.input_tokens), 0) + COALESCE(SUM(r.cache_read_tokens), 0)
    + COALESCE(SUM(r.cache_write_tokens), 0) + COALESCE(SUM(r.cache_write_1h_tokens), 0)
    + COALESCE(SUM(r.audio_input_tokens), 0) + COALESCE(SUM(r.output_tokens), 0)
    + COALESCE(SUM(r.reasoning_tokens), 0) + COALESCE(SUM(r.audio_output_tokens), 0),
    COALESCE(SUM(r.cost_nano), 0)
FROM usage_records AS r
WHERE r.tenant IS NOT NULL OR r.key_id IS NOT NULL
GROUP BY 1, 2, 3, 4;

-- migrate:down
DROP TRIGGER usage_hours_update;
DROP TRIGGER usage_hours_insert;
DROP TABLE usage_hours;
