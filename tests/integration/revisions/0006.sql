INSERT INTO tallies (name, label, count, total, at) VALUES ('phase', 'admm', 3, 12.5, 1760000009);

INSERT INTO models (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, trace, analysis) VALUES
  ('mdl_6', 'anna', 'six.onnx', 'aa66', 17, 'ready', '[]', 1760000013, 1, 0, NULL, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '{}');

INSERT INTO datasets (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, trace, format, preprocess, reading, summary) VALUES
  ('dat_6', 'anna', 'six.npz', 'bb66', 9, 'ready', '[]', 1760000015, 1, 0, NULL, NULL, 'npz', '{}', 'r6', '{}');

INSERT INTO jobs (id, owner, name, labels, model_id, dataset_id, plan, idempotency_key, body_hash, status, phase, progress, round, layers, eta_seconds, goal_met, error, result, attempt, crashes, worker, lease_until, woken_at, created_at, started_at, finished_at, checkpoint, last_event, webhook_url, trace, queued_at, phase_since) VALUES
  ('job_6', 'anna', NULL, '[]', 'mdl_1', 'dat_1', '{"budget": {"pruning_rate": 4}}', NULL, NULL, 'cancelled', NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, 1760000010, 1760000010, NULL, 1760000012, NULL, 0, NULL, NULL, 1760000010, NULL);
