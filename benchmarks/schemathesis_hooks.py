"""What schemathesis has to be told to speak with this service: how a piece of an upload is written."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
