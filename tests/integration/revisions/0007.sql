INSERT INTO workers (id, host, queues, started_at, seen_at, busy_with, done, draining, leaving, version, facts) VALUES
  ('host:17:ab12cd', 'host', '["jobs"]', 1760000000, 1760000020, 'job_2', 4, false, false, '0.1.0', '{"cores": 2, "gpus": []}');

INSERT INTO models (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, touched_at, analysis) VALUES
  ('mdl_3', 'anna', 'again.onnx', 'aa33', 17, 'ready', '[]', 1760000013, 1, 0, NULL, 1760000014.5, '{}');

INSERT INTO datasets (id, owner, name, sha256, bytes, status, problems, created_at, attempt, crashes, lease_until, touched_at, format, preprocess, reading, summary) VALUES
  ('dat_3', 'anna', 'again.npz', 'bb33', 9, 'ready', '[]', 1760000015, 1, 0, NULL, 1760000016.5, 'npz', '{}', 'r3', '{}');
