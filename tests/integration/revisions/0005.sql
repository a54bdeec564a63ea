INSERT INTO jobs (id, owner, name, labels, model_id, dataset_id, plan, idempotency_key, body_hash, status, phase, progress, round, layers, eta_seconds, goal_met, error, result, attempt, crashes, worker, lease_until, woken_at, created_at, started_at, finished_at, checkpoint, last_event, webhook_url) VALUES
  ('job_5', 'anna', NULL, '[]', 'mdl_1', 'dat_1', '{"budget": {"pruning_rate": 4}}', NULL, NULL, 'failed', 'admm', 0.5, 2, NULL, NULL, NULL, 'because', NULL, 1, 0, NULL, NULL, 1760000010, 1760000010, 1760000011, 1760000012, NULL, 0, 'https://hooks.example.com/x');

INSERT INTO deliveries (id, job_id, owner, host, url, type, payload, attempts, created_at, next_at, leased_until, delivered_at, gave_up_at, last_error) VALUES
  ('msg_1', 'job_5', 'anna', 'hooks.example.com', 'https://hooks.example.com/x', 'job.failed', '{}', 1, 1760000012, NULL, NULL, 1760000013, NULL, NULL);

INSERT INTO webhook_secrets (owner, secret, previous, previous_until) VALUES ('anna', 'whsec_AAAA', NULL, NULL);
