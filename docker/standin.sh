#!/bin/sh
# Build look-alikes of the three public base images from Debian's packages, for a machine that cannot pull images:
#   docker/standin.sh
#   PYTHON_IMAGE=standin/python REDIS_IMAGE=standin/redis RABBITMQ_IMAGE=standin/rabbitmq make docker-up
# It takes the mirror from this machine's apt sources, and this machine's certificates and package index into the images,
# so that the Dockerfile and the compose file know nothing of either. Run it as root, with debootstrap installed.
set -eu
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-cache policy | grep -oE 'https?://[^ ]*/debian/? ' | head -n 1 | tr -d ' ')
root=$(mktemp -d)
context=$(mktemp -d)
trap 'rm -rf "$root" "$root.log" "$context"' EXIT

# In place of python:3.12-slim: Debian's own Python, with the names `python` and `pip` and leave to install with it.
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip "$release" "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
ln -s python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/var/cache/apt/archives/*.deb
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
if [ -n "${PIP_INDEX_URL:-}" ]; then printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" >"$root/etc/pip.conf"; fi
tar -C "$root" -c . | docker import \
    --change "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 ${UV_DEFAULT_INDEX:+UV_DEFAULT_INDEX=$UV_DEFAULT_INDEX}" \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    --change 'CMD ["python3"]' - standin/python >/dev/null

# The servers, as Debian has them: Redis 7.0, RabbitMQ 3.10.
printf 'FROM standin/python\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null\n' |
    docker build --quiet --tag standin/redis - >/dev/null &
# What the public RabbitMQ image reads from its environment, an entry point writes into a configuration here.
cat >"$context/entry.sh" <<'ENTRY'
#!/bin/sh
set -eu
echo '[rabbitmq_management].' >/tmp/enabled_plugins
printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\n' "$RABBITMQ_DEFAULT_USER" "$RABBITMQ_DEFAULT_PASS" >/tmp/rabbitmq.conf
export RABBITMQ_CONFIG_FILE=/tmp/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=/tmp/enabled_plugins RABBITMQ_LOGS=-
exec "$@"
ENTRY
chmod 755 "$context/entry.sh"
cat >"$context/Dockerfile" <<'FILE'
FROM standin/python
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null \
    && ln -sf /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/* /usr/local/sbin/
COPY entry.sh /usr/local/bin/entry.sh
ENTRYPOINT ["entry.sh"]
USER rabbitmq
CMD ["rabbitmq-server"]
FILE
docker build --quiet --tag standin/rabbitmq "$context" >/dev/null
wait
docker image inspect standin/python standin/redis standin/rabbitmq >/dev/null
