INSERT INTO transfers (id, owner, kind, parameters, described, length, "offset", turn, holder, created_at, expires_at, upload_id, is_new) VALUES
  ('trf_4', 'anna', 'model', '{"name": "net.onnx"}', NULL, 5000000000, 1048576, 2, 2, 1760000000.5, 4102444800, NULL, NULL);
