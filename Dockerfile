# One image for all of ours: the command says which part runs (docker-compose.yml, deploy/kubernetes).
#
# It has what requirements.lock pins. Where pip's index has torch with CUDA, as the public one does, so has the image
# (about 5 GB more), and workers use the GPU that they are given; for CPUs alone name an index of torch's CPU wheels:
# docker compose build --build-arg PIP_EXTRA_INDEX_URL=...
# A folder wheels/ beside this file is used too; with PIP_NO_INDEX=1 nothing else is (deploy/try_compose.sh).
FROM python:3.11-slim AS packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
ENV PIP_FIND_LINKS=/packages PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /venv
COPY requirements.lock wheel[s] /packages/
RUN pip --python /venv/bin/python install --no-cache-dir -r /packages/requirements.lock

# installed beside the packages, so that a change of ours does not change their layer
FROM packages AS ours
WORKDIR /app
COPY pyproject.toml ./
COPY client ./client
COPY pruning ./pruning
COPY store ./store
COPY api ./api
COPY worker ./worker
COPY service ./service
COPY admin ./admin
RUN pip --python /venv/bin/python install --no-cache-dir --no-deps --root /ours -e . ./client \
    && python -m compileall -q --invalidation-mode unchecked-hash . \
    && rm -rf client build

# without pip's wheels or anything that builds
FROM python:3.11-slim
RUN useradd --uid 1000 --create-home secateur && install -d -o secateur -g secateur /data
COPY --from=packages /venv /venv
COPY --from=ours /ours/venv /venv
COPY --from=ours /app /app
WORKDIR /app
# a number, so that Kubernetes can tell that it is not root
USER 1000:1000
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SECATEUR_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "api"]
