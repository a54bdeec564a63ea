INSERT INTO keys (id, owner, hash, created_at) VALUES ('key_1', 'anna', 'a-hash', 1760000000.5);

INSERT INTO models (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, analysis) VALUES
  ('mdl_1', 'anna', 'net.onnx', 'aa11', 5000000000, 'ready', '[]', 1760000000.5, 1, 0, NULL, '{"layers": [{"name": "conv1"}]}'),
  ('mdl_2', 'anna', 'bad.onnx', 'aa22', 17, 'rejected', '["it is no ONNX file"]', 1760000001, 1, 0, NULL, NULL);

INSERT INTO datasets (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, format, preprocess, reading, summary) VALUES
  ('dat_1', 'anna', 'data.npz', 'bb11', 9, 'ready', '[]', 1760000002, 1, 0, NULL, 'npz', '{"scale": 1}', 'r1', '{"classes": 10}'),
  ('dat_2', 'anna', 'more.npz', 'bb22', 9, 'validating', '[]', 1760000003, 1, 1, 1760000009.25, 'npz', '{}', 'r2', NULL);

INSERT INTO jobs (id, owner, name, labels, model_id, dataset_id, plan, idempotency_key, body_hash, status, phase, progress, round, eta_seconds, goal_met, error, attempt, crashes, worker, lease_until, woken_at, created_at, started_at, finished_at, checkpoint, last_event) VALUES
  ('job_1', 'anna', 'first', '["trial"]', 'mdl_1', 'dat_1', '{"budget": {"pruning_rate": 20}}', 'a-key', 'a-body', 'succeeded', 'report', 1, 10, 0, true, NULL, 1, 0, NULL, NULL, 1760000004, 1760000004, 1760000005, 1760000090, NULL, 2),
  ('job_2', 'anna', NULL, '[]', 'mdl_1', 'dat_1', '{"budget": {"sparsity": 0.9}}', NULL, NULL, 'running', 'admm', 0.5, 3, 12.5, NULL, NULL, 2, 1, 'host:17', 1760000009.25, 1760000006, 1760000006, 1760000007, NULL, 'job_2/2-3', 1),
  ('job_3', 'anna', NULL, '[]', 'mdl_1', 'dat_1', '{"budget": {"sparsity": 0.9}}', NULL, NULL, 'failed', 'import', 0, NULL, NULL, NULL, 'it diverged', 1, 0, NULL, NULL, 1760000008, 1760000008, 1760000008, 1760000009, NULL, 0);

INSERT INTO events (job_id, seq, at, kind, data) VALUES
  ('job_1', 1, 1760000004, 'status', '{"status": "queued"}'),
  ('job_1', 2, 1760000090, 'status', '{"status": "succeeded"}'),
  ('job_2', 1, 1760000006, 'status', '{"status": "queued"}');

INSERT INTO metrics (job_id, step, phase, round, "values") VALUES ('job_1', 0, 'baseline', 0, '{"accuracy": 0.99}');

INSERT INTO artifacts (job_id, name, sha256, bytes) VALUES ('job_1', 'pruned.onnx', 'cc11', 5000000001);
