-- migrate:up
-- What was seen of each deployment's health, a row for each change and for each probe.
CREATE TABLE provider_health (
    at BIGINT NOT NULL,             -- Unix milliseconds
    provider TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '', -- empty: the provider as a whole
    state TEXT NOT NULL,
    latency_ms BIGINT,
    detail TEXT
);
CREATE INDEX provider_health_at ON provider_health (at);
CREATE INDEX provider_health_provider ON provider_health (provider, at);

-- migrate:down
DROP TABLE provider_health;
