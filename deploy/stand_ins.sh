# shellcheck shell=bash
# What deploy/try_compose.sh does where there is no Docker engine running or no image to pull. Sourced by it.

# a Docker engine of our own, with everything that it keeps in $FOLDER/docker
start_engine() {
    local socket="unix://$FOLDER/docker.sock"
    iptables-save > "$FOLDER/iptables"
    ip link show docker0 > /dev/null 2>&1 || touch "$FOLDER/no-docker0"
    dockerd --host "$socket" --data-root "$FOLDER/docker" --exec-root "$FOLDER/exec" --pidfile "$FOLDER/dockerd.pid" \
        > "$FOLDER/dockerd.log" 2>&1 &
    ENGINE=$!
    export DOCKER_HOST=$socket
    until docker info > /dev/null 2>&1; do
        kill -0 "$ENGINE" 2> /dev/null || fail "dockerd does not start: $(tail -n 3 "$FOLDER/dockerd.log")"
        sleep 0.2
    done
}

# with the rules and the bridge that it made
stop_engine() {
    kill "$ENGINE"
    wait "$ENGINE" || true
    iptables-restore < "$FOLDER/iptables"
    if [ -e "$FOLDER/no-docker0" ]; then ip link delete docker0; fi
}

# one tree of Debian's packages under three names; the engine's own names, so that compose file and Dockerfile are
# tried as they are
make_stand_ins() {
    local tree=$FOLDER/tree
    if [ ! -e "$FOLDER/tree.done" ]; then
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,redis-server,postgresql \
            bookworm "$tree" > "$FOLDER/debootstrap.log" || fail "debootstrap failed: $(tail -n 3 "$FOLDER/debootstrap.log")"
        ln -sf /usr/bin/python3 "$tree/usr/local/bin/python"
        install -d -o "$(id_in "$tree" redis)" "$tree/data"
        install -d -m 700 -o "$(id_in "$tree" postgres)" "$tree/var/lib/postgresql/data"
        chmod 3777 "$tree/run/postgresql"  # as the official image has it
        install -m 755 /dev/stdin "$tree/usr/local/bin/start-postgres" << 'END'
#!/bin/sh
# what the official image does on its first start, as far as docker-compose.yml asks for it
set -eu
export PGDATA=/var/lib/postgresql/data
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb -U "$POSTGRES_USER" --pwfile=/tmp/password -E UTF8 --locale=C.UTF-8 --auth=scram-sha-256
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-h ''"
    PGPASSWORD=$POSTGRES_PASSWORD psql -qU "$POSTGRES_USER" postgres -c "CREATE DATABASE $POSTGRES_DB"
    pg_ctl -w stop
fi
exec postgres -h '*'
END
        touch "$FOLDER/tree.done"
    fi
    tar -C "$tree" -c . | docker import - stand-in:tree > /dev/null
    local binaries
    binaries=$(cd "$tree" && echo usr/lib/postgresql/*/bin)
    stand_in python:3.11-slim 'CMD ["python"]'
    stand_in redis:7.4-alpine 'WORKDIR /data' 'VOLUME /data' 'CMD ["redis-server"]'
    stand_in postgres:16.4-alpine "ENV PATH=/$binaries:/usr/local/bin:/usr/bin:/bin" \
        'VOLUME /var/lib/postgresql/data' 'CMD ["start-postgres"]'
}

id_in() { awk -F: -v name="$2" '$1 == name { print $3 }' "$1/etc/passwd"; }

# stand_in NAME LINE...: the tree with these lines of a Dockerfile
stand_in() {
    MADE="$1 $MADE"
    { echo "FROM stand-in:tree"; printf '%s\n' "${@:2}"; } | DOCKER_BUILDKIT=0 docker build -qt "$1" - > /dev/null 2>&1 \
        || fail "no stand-in for $1 could be made"
}
