-- migrate:up
-- Attempts that were given up because another one answered first, and what is known of their cost.
ALTER TABLE usage_records ADD COLUMN hedges INTEGER;
ALTER TABLE usage_records ADD COLUMN hedge_cost_nano BIGINT; -- nano-dollars, no part of cost_nano

-- migrate:down
ALTER TABLE usage_records DROP COLUMN hedge_cost_nano;
ALTER TABLE usage_records DROP COLUMN hedges;
