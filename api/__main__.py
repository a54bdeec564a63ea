"""python -m api: the API on SECATEUR_HOST and SECATEUR_PORT."""

import uvicorn

from store.settings import settings

if __name__ == "__main__":
    uvicorn.run(
        "api.app:create",
        factory=True,
        host=settings().host,
        port=settings().port or 8000,
        access_log=False,
        timeout_graceful_shutdown=3,  # open event streams must not hold the end up
    )
