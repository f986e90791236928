-- migrate:up
-- What is used by hour, so that a budget of a month does not add up a month's records. Triggers keep
-- it with whatever writes a record, in the same transaction: a record that is written twice
-- counts once. Records that are deleted stay in it. What belongs to no tenant and no key is not in it.
CREATE TABLE usage_hours (
    hour BIGINT NOT NULL,           -- its begin, Unix milliseconds; 0: all before the hours kept
    tenant TEXT NOT NULL,           -- '' for none, and where the tenant was erased
    key_id TEXT NOT NULL,           -- likewise
    model TEXT NOT NULL,            -- what the client asked for
    part INTEGER NOT NULL,          -- of several, for transactions at once
    requests BIGINT NOT NULL,       -- that a deployment was asked to answer
    tokens NUMERIC NOT NULL,        -- of all meters
    cost_nano NUMERIC NOT NULL,     -- nano-dollars
    PRIMARY KEY (tenant, hour, key_id, model, part)
) WITH (fillfactor = 50);
CREATE INDEX usage_hours_hour ON usage_hours (hour);
CREATE INDEX usage_hours_key ON usage_hours (key_id, hour);
-- A part has one writer at a time, while there are parts enough: hosts that ship at once do not wait
-- for one another, and a database that few write to has few rows.
CREATE FUNCTION usage_hours_part() RETURNS INTEGER LANGUAGE plpgsql AS $body$
DECLARE
    own INTEGER := 0;
BEGIN
    WHILE own < 15 AND NOT pg_try_advisory_xact_lock(20261129, own) LOOP
        own := own + 1;
    END LOOP;
    RETURN own;
END
$body$;
CREATE FUNCTION usage_hours_inserted() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    own INTEGER := usage_hours_part();
BEGIN
    INSERT INTO usage_hours AS h (hour, tenant, key_id, model, part, requests, tokens, cost_nano)
    SELECT s.hour, s.tenant, s.key_id, s.model, own, s.requests, s.tokens, s.cost_nano FROM (
        SELECT n.at / 3600000 * 3600000 AS hour, COALESCE(n.tenant, '') AS tenant,
            COALESCE(n.key_id, '') AS key_id, n.model,
            SUM((n.attempts > 0)::int) AS requests,
            COALESCE(SUM(n.input_tokens), 0) + COALESCE(SUM(n.cache_read_tokens), 0)
            + COALESCE(SUM(n.cache_write_tokens), 0) + COALESCE(SUM(n.cache_write_1h_tokens), 0)
            + COALESCE(SUM(n.audio_input_tokens), 0) + COALESCE(SUM(n.output_tokens), 0)
            + COALESCE(SUM(n.reasoning_tokens), 0) + COALESCE(SUM(n.audio_output_tokens), 0) AS tokens,
            COALESCE(SUM(n.cost_nano), 0) AS cost_nano
        FROM added AS n
        WHERE n.tenant IS NOT NULL OR n.key_id IS NOT NULL
        GROUP BY 1, 2, 3, 4
    ) AS s
    WHERE s.requests <> 0 OR s.tokens <> 0 OR s.cost_nano <> 0
    ORDER BY 1, 2, 3, 4             -- the same for all, so that no two wait for each other
    ON CONFLICT (tenant, hour, key_id, model, part) DO UPDATE SET
        requests = h.requests + excluded.requests,
        tokens = h.tokens + excluded.tokens,
        cost_nano = h.cost_nano + excluded.cost_nano;
    RETURN NULL;
END
$body$;
-- A request that was taken for abandoned has ended after all; or amounts were corrected by hand.
CREATE FUNCTION usage_hours_updated() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    own INTEGER;
BEGIN
    IF NOT EXISTS (SELECT FROM after) THEN  -- of a shipment, nearly always
        RETURN NULL;
    END IF;
    own := usage_hours_part();
    INSERT INTO usage_hours AS h (hour, tenant, key_id, model, part, requests, tokens, cost_nano)
    SELECT s.hour, s.tenant, s.key_id, s.model, own, s.requests, s.tokens, s.cost_nano FROM (
        SELECT n.at / 3600000 * 3600000 AS hour, COALESCE(n.tenant, '') AS tenant,
            COALESCE(n.key_id, '') AS key_id, n.model,
            SUM((n.attempts > 0)::int) - SUM((o.attempts > 0)::int) AS requests,
            COALESCE(SUM(n.input_tokens), 0) + COALESCE(SUM(n.cache_read_tokens), 0)
            + COALESCE(SUM(n.cache_write_tokens), 0) + COALESCE(SUM(n.cache_write_1h_tokens), 0)
            + COALESCE(SUM(n.audio_input_tokens), 0) + COALESCE(SUM(n.output_tokens), 0)
            + COALESCE(SUM(n.reasoning_tokens), 0) + COALESCE(SUM(n.audio_output_tokens), 0)
            - COALESCE(SUM(o.input_tokens), 0) - COALESCE(SUM(o.cache_read_tokens), 0)
            - COALESCE(SUM(o.cache_write_tokens), 0) - COALESCE(SUM(o.cache_write_1h_tokens), 0)
            - COALESCE(SUM(o.audio_input_tokens), 0) - COALESCE(SUM(o.output_tokens), 0)
            - COALESCE(SUM(o.reasoning_tokens), 0) - COALESCE(SUM(o.audio_output_tokens), 0) AS tokens,
            COALESCE(SUM(n.cost_nano), 0) - COALESCE(SUM(o.cost_nano), 0) AS cost_nano
        FROM after AS n JOIN before AS o USING (id)
        WHERE n.tenant IS NOT NULL OR n.key_id IS NOT NULL
        GROUP BY 1, 2, 3, 4
    ) AS s
    WHERE s.requests <> 0 OR s.tokens <> 0 OR s.cost_nano <> 0
    ORDER BY 1, 2, 3, 4             -- the same for all, so that no two wait for each other
    ON CONFLICT (tenant, hour, key_id, model, part) DO UPDATE SET
        requests = h.requests + excluded.requests,
        tokens = h.tokens + excluded.tokens,
        cost_nano = h.cost_nano + excluded.cost_nano;
    RETURN NULL;
END
$body$;
CREATE TRIGGER usage_hours_insert AFTER INSERT ON usage_records
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION usage_hours_inserted();
CREATE TRIGGER usage_hours_update AFTER UPDATE ON usage_records
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION usage_hours_updated();
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
DROP TRIGGER usage_hours_update ON usage_records;
DROP TRIGGER usage_hours_insert ON usage_records;
DROP FUNCTION usage_hours_updated();
DROP FUNCTION usage_hours_inserted();
DROP FUNCTION usage_hours_part();
DROP TABLE usage_hours;
