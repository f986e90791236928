-- migrate:up
-- What a price is computed from where a vendor charges by other sums than it counts.
ALTER TABLE usage_records ADD COLUMN billed_input_tokens BIGINT;
ALTER TABLE usage_records ADD COLUMN billed_output_tokens BIGINT;
ALTER TABLE usage_records ADD COLUMN search_units BIGINT;

-- migrate:down
ALTER TABLE usage_records DROP COLUMN search_units;
ALTER TABLE usage_records DROP COLUMN billed_output_tokens;
ALTER TABLE usage_records DROP COLUMN billed_input_tokens;
