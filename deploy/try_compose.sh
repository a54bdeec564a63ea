#!/usr/bin/env bash
# Brings docker-compose.yml up with a real Docker engine, runs a job through it over HTTP, and takes it down again.
#
# Uses the engine that runs; starts one of its own, in a folder of its own, where none does (as root). Where the base
# images cannot be pulled, stand-ins are made of Debian's packages (Redis 7.0, PostgreSQL 15), and the image takes its
# packages from wheels that this machine's pip has gathered, so the build needs no network.
# FOLDER=... keeps what took long (tree, wheels, images of its own engine) for the next run. PYTHON=... is a Python 3.11.
set -euo pipefail
HOUSE=$(cd "$(dirname "$0")/.." && pwd)
NEW_KEY="secateur-admin keys create try"
IMAGES="python:3.11-slim redis:7.4-alpine postgres:16.4-alpine"
KEEP=${FOLDER:+yes}
FOLDER=${FOLDER:-$(mktemp -d /tmp/secateur-try.XXXXXX)}
PYTHON=${PYTHON:-python3}
PATIENCE=${PATIENCE:-900}  # seconds that a job may take: seventy on two idle cores, ten times that beside other work
PROJECT=secateur-try-$$
URL='' KEY='' ENGINE='' MADE=''
export SECATEUR_IMAGE=secateur-try:$$
mkdir -p "$FOLDER"
# shellcheck source=deploy/stand_ins.sh
. "$HOUSE/deploy/stand_ins.sh"

fail() { echo "FAILED: $1" >&2; exit 1; }
need() { command -v "$1" > /dev/null || fail "$1 is not there; install it first (Debian: apt-get install $2)"; }
step() { printf '%4d s  %s\n' "$SECONDS" "$1"; }
compose() { (cd "$FOLDER/context" && "${COMPOSE[@]}" -p "$PROJECT" "$@"); }
ask() { curl -sS --fail-with-body --max-time 60 -H "Authorization: Bearer $KEY" "$@"; }
field() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# until_is PATH FIELD WORD SECONDS
until_is() {
    local value end=$((SECONDS + $4))
    while [ $SECONDS -lt $end ]; do
        value=$(ask "$URL$1" | field "$2")
        [ "$value" = "$3" ] && return
        case $value in failed | rejected | cancelled) break ;; esac
        sleep 0.5
    done
    fail "$2 of $1 is $value, not $3"
}

clean_up() {
    local code=$?
    trap - EXIT
    set +e
    if [ -e "$FOLDER/up" ]; then
        if [ $code != 0 ]; then compose ps; compose logs --tail 40 --no-color; fi
        compose down -v --remove-orphans > "$FOLDER/down.log" 2>&1 || { cat "$FOLDER/down.log"; code=1; }
        rm -f "$FOLDER/up"
        nothing_left || code=1
    fi
    if [ -n "$ENGINE" ]; then
        stop_engine
    elif docker info > /dev/null 2>&1; then
        # shellcheck disable=SC2086  # names, with spaces between
        docker image rm -f "$SECATEUR_IMAGE" $MADE ${MADE:+stand-in:tree} > /dev/null 2>&1
    fi
    rm -rf "$FOLDER/context"
    [ -n "$KEEP" ] || rm -rf "$FOLDER"
    step "$([ $code = 0 ] && echo 'all of it worked; nothing is left' || echo FAILED)"
    exit $code
}

nothing_left() {
    local label=label=com.docker.compose.project=$PROJECT left
    left=$(docker ps -aq --filter "$label"; docker volume ls -q --filter "$label"; docker network ls -q --filter "$label")
    [ -z "$left" ] || { echo "FAILED: containers, volumes or networks of $PROJECT are left: $left" >&2; return 1; }
}

prepare() {
    need docker docker.io; need curl curl; need "$PYTHON" python3
    if docker compose version > /dev/null 2>&1; then COMPOSE=(docker compose)
    else need docker-compose docker-compose; COMPOSE=(docker-compose); fi
    if ! docker info > /dev/null 2>&1; then
        need dockerd docker.io; need iptables iptables; need ip iproute2
        [ "$(id -u)" = 0 ] || fail "no Docker engine answers, and only root can start one"
        start_engine
        step "a Docker engine of our own runs"
    fi
    step "$(docker version --format 'engine {{.Server.Version}}'), $("${COMPOSE[@]}" version --short 2> /dev/null | sed 's/^/compose /')"
    # of what is committed or could be: nothing that lies about gets into the image
    mkdir "$FOLDER/context"
    (cd "$HOUSE" && git ls-files -co --exclude-standard -z | xargs -0 ls -d 2> /dev/null | tar -cT -) | tar -xC "$FOLDER/context"
    local image
    for image in $IMAGES; do
        docker image inspect "$image" > /dev/null 2>&1 || docker pull -q "$image" > "$FOLDER/pull.log" 2>&1 || {
            step "no images can be pulled here: stand-ins are made"
            need debootstrap debootstrap
            make_stand_ins
            break
        }
    done
    if docker image inspect stand-in:tree > /dev/null 2>&1; then gather_wheels; fi
    step "base images are there"
}

gather_wheels() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail "set PYTHON to a Python 3.11: wheels are for its version"
    # async-timeout: Debian's Python 3.11.2 is older than all that the lock was made for, and redis wants it before 3.11.3
    "$PYTHON" -m pip wheel -q -w "$FOLDER/wheels" -r "$HOUSE/requirements.lock" "setuptools>=77" "async-timeout>=4.0.3" \
        > "$FOLDER/wheels.log" 2>&1 \
        || fail "pip could not gather the wheels: $(tail -n 3 "$FOLDER/wheels.log")"
    cp -rl "$FOLDER/wheels" "$FOLDER/context/wheels"
    export PIP_NO_INDEX=1
}

bring_up() {
    export SECATEUR_POSTGRES_PASSWORD SECATEUR_PUBLISH
    SECATEUR_POSTGRES_PASSWORD=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(16))')
    SECATEUR_PUBLISH=127.0.0.1:$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    URL=http://$SECATEUR_PUBLISH
    touch "$FOLDER/up"
    compose build > "$FOLDER/build.log" 2>&1 || fail "the image was not built: $(tail -n 20 "$FOLDER/build.log")"
    step "the image is built: $(docker image inspect -f '{{.Size}}' "$SECATEUR_IMAGE" | awk '{printf "%.2f GB", $1 / 1e9}')"
    compose up -d > "$FOLDER/up.log" 2>&1 || fail "docker compose up: $(cat "$FOLDER/up.log")"
    ask "$URL/readyz" > /dev/null || fail "the API is not ready"
    step "four services and the database are up; /readyz answers"
    until_healthy worker; until_healthy worker-light
    step "workers are healthy"
}

until_healthy() {
    local end=$((SECONDS + PATIENCE)) state
    while [ $SECONDS -lt $end ]; do
        state=$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q "$1")")
        [ "$state" = healthy ] && return
        sleep 1
    done
    fail "$1 is $state: $(docker inspect -f '{{json .State.Health.Log}}' "$(compose ps -q "$1")")"
}

# what the compose file promises of every container
check_walls() {
    local service id
    for service in api worker worker-light redis postgres; do
        id=$(compose ps -q "$service")
        docker exec "$id" sh -c '
            [ "$(id -u)" != 0 ] && ! touch /written 2> /dev/null && touch /tmp/written &&
            grep -q "^CapBnd:[[:space:]]*0*$" /proc/self/status && grep -q "^NoNewPrivs:[[:space:]]*1" /proc/self/status &&
            grep -q "^Seccomp:[[:space:]]*2" /proc/self/status && ! unshare --user true 2> /dev/null
        ' || fail "$service is root, may gain rights, or writes where it should not"
        case $service in
            api) ;;
            *) [ -z "$(docker port "$id")" ] || fail "$service is published" ;;
        esac
    done
    docker exec "$(compose ps -q redis)" sh -c 'unset REDISCLI_AUTH; redis-cli ping 2>&1' | grep -q NOAUTH \
        || fail "Redis answers without a password"
    step "no container is root, has capabilities or writes to its image; only the API is published"
}

upload() { ask -X POST -T "$HOUSE/examples/$2" "$URL/v1/$1?name=$2" | field id; }
post_job() { ask "$URL/v1/jobs" -H "Content-Type: application/json" -d "{\"model_id\": \"$MODEL\", \"dataset_id\": \"$DATA\", \"plan\": $1}" | field id; }

run_a_job() {
    [ "$(curl -s -o /dev/null -w '%{http_code}' "$URL/v1/jobs")" = 401 ] || fail "the API lets in whoever has no key"
    # shellcheck disable=SC2086  # a command and its arguments
    KEY=$(compose exec -T api $NEW_KEY | tail -n 1 | tr -d '\r')
    MODEL=$(upload models digits.onnx) DATA=$(upload datasets digits.npz)
    until_is "/v1/models/$MODEL" status ready "$PATIENCE"
    until_is "/v1/datasets/$DATA" status ready "$PATIENCE"
    step "a key is made, both uploads are vetted"
    local job
    job=$(post_job '{"budget": {"pruning_rate": 20}}')
    until_is "/v1/jobs/$job" status succeeded "$PATIENCE"
    step "the job succeeded: $(ask "$URL/v1/jobs/$job/report" | field headline)"
    ask "$URL/v1/jobs/$job/artifacts/pruned.onnx" -o "$FOLDER/pruned.onnx"
    compose exec -T worker python -c '
import sys, onnxruntime
net = onnxruntime.InferenceSession(sys.stdin.buffer.read())
print([tuple(i.shape) for i in net.get_inputs()])' < "$FOLDER/pruned.onnx" > "$FOLDER/opened" || fail "pruned.onnx does not open in ONNX Runtime"
    step "pruned.onnx, $(stat -c %s "$FOLDER/pruned.onnx") bytes, opens in ONNX Runtime: inputs $(cat "$FOLDER/opened")"
}

# a worker that is stopped hands its job back, and the next one goes on with it
stop_a_worker() {
    local job before
    job=$(post_job '{"budget": {"pruning_rate": 20}, "admm": {"rounds": 40}}')
    until_is "/v1/jobs/$job" phase admm "$PATIENCE"
    before=$SECONDS
    compose stop worker > "$FOLDER/stop.log" 2>&1
    until_is "/v1/jobs/$job" status queued 5
    step "the worker stopped in $((SECONDS - before)) s and handed its job back"
    [ $((SECONDS - before)) -lt 25 ] || fail "the worker had to be killed"
    compose start worker > "$FOLDER/start.log" 2>&1
    until_is "/v1/jobs/$job" status succeeded "$PATIENCE"
    step "it was started again, and the job succeeded"
}

trap clean_up EXIT
prepare
bring_up
check_walls
run_a_job
stop_a_worker
