# One image for all of ours: the command says which part runs (docker-compose.yml).
FROM python:3.11-slim

# libgomp1 is what torch's CPU build links against
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
COPY client ./client
RUN pip install --no-cache-dir --no-deps ./client
COPY pruning ./pruning
COPY store ./store
COPY api ./api
COPY worker ./worker
COPY service ./service
COPY admin ./admin
COPY pyproject.toml ./
RUN pip install --no-cache-dir --no-deps -e .

RUN useradd --create-home secateur && mkdir /data && chown secateur /data
USER secateur
ENV PYTHONUNBUFFERED=1 SECATEUR_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "api"]
