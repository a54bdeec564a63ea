INSERT INTO keys (id, owner, hash, created_at, name, scope, last_used_at, expires_at, revoked_at) VALUES
  ('key_3', 'anna', 'another-hash', 1760000000.5, 'ci', 'read', NULL, NULL, 1760000009);

INSERT INTO quotas (owner, max_jobs_queued, max_jobs_running, max_bytes_stored, max_requests_a_minute) VALUES
  ('anna', 5, NULL, 5000000000, 0);
