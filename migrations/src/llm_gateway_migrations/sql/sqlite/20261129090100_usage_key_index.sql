-- migrate:up
-- Nothing looks for the records of a key since there are sums by hour.
DROP INDEX usage_records_key;

-- migrate:down
CREATE INDEX usage_records_key ON usage_records (key_id, at);
