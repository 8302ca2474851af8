# The part of .ci/run that is about containers, sourced by it: an engine of our own when none runs, stand-ins for the public
# images, the tests, and a look at what is left. Nothing is kept from one run to the next.

containers_folder=

# Start an engine, unless one answers already, and end it with this script.
start_engine() {
    docker info >/dev/null 2>&1 && return
    containers_folder=$(mktemp -d)
    export DOCKER_HOST="unix://$containers_folder/socket"
    dockerd --host "$DOCKER_HOST" --data-root "$containers_folder/data" --exec-root "$containers_folder/exec" \
        --pidfile "$containers_folder/pid" >"$containers_folder/log" 2>&1 &
    containers_engine=$!
    trap end_engine EXIT
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$containers_engine" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$containers_folder/log" >&2
    echo "the Docker engine did not start" >&2
    return 1
}

# It stops its containers first; one that does not get there is killed and named.
end_engine() {
    [ -n "$containers_folder" ] || return 0
    kill "$containers_engine" 2>/dev/null || true
    if ! timeout "${ENGINE_ENDS_WITHIN:-60}" tail --pid="$containers_engine" -f /dev/null; then
        echo "the Docker engine did not end, so it is killed; look for mounts that it left: mount | grep $containers_folder" >&2
        kill -9 "$containers_engine" 2>/dev/null || true
    fi
    wait "$containers_engine" 2>/dev/null || true
    rm -rf "$containers_folder" || true
    containers_folder=
}

# Print whatever the engine still has that a classroom made.
left_behind() {
    docker ps --all --quiet --filter label=com.docker.compose.project
    docker volume ls --quiet
    docker network ls --format '{{.Name}}' | grep classroom || true
    pgrep -fa 'docker-proxy' || true
}

test_containers() {
    export PYTHON_IMAGE=standin/python REDIS_IMAGE=standin/redis RABBITMQ_IMAGE=standin/rabbitmq
    make docker-up
    make docker-down
    make docker-test
    local left
    left=$(left_behind)
    if [ -n "$left" ]; then
        printf 'containers left behind:\n%s\n' "$left" >&2
        return 1
    fi
}
