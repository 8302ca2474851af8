#!/bin/sh
# Build look-alikes of the three public base images from Debian's packages, for a machine that cannot pull images.
#   docker/standin.sh PYTHON_PREFIX     for example ~/.pyenv/versions/3.12.1, or what `python3.12 -c 'import sys; print(sys.prefix)'` says
# It takes the mirror from this machine's apt sources, and this machine's certificates and pip settings into the images,
# so that the Dockerfile and the compose file need to know nothing of either. Run it as root, with debootstrap installed.
set -eu
prefix=$1
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-cache policy | grep -oE 'https?://[^ ]*debian/? ' | grep -v security | head -n 1 | tr -d ' ')
root=$(mktemp -d)
context=$(mktemp -d)
trap 'rm -rf "$root" "$context"' EXIT

debootstrap --variant=minbase \
    --include=ca-certificates,netbase,tzdata,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,zlib1g,libncursesw6,libexpat1,libuuid1 \
    "$release" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# A Python such as python:3.12-slim has one: in /usr/local, without tests and headers.
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib"
(cd "$prefix" && tar -c --exclude=__pycache__ --exclude=test --exclude=site-packages --exclude='*.a' bin lib) | tar -C "$root/usr/local" -x
version=$(basename "$root"/usr/local/lib/python3.*)
mkdir -p "$root/usr/local/lib/$version/site-packages"
ln -sf "$version" "$root/usr/local/bin/python"
ln -sf "$version" "$root/usr/local/bin/python3"
chroot "$root" ldconfig
chroot "$root" /usr/local/bin/python -m ensurepip >/dev/null 2>&1
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
if [ -n "${PIP_INDEX_URL:-}" ]; then printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" >"$root/etc/pip.conf"; fi
rm -rf "$root"/var/cache/apt/archives/*.deb
tar -C "$root" -c . | docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    --change 'CMD ["python3"]' - standin/python:3.12 >/dev/null

# The servers, as Debian has them: Redis 7.0, RabbitMQ 3.10. What the public RabbitMQ image reads from its environment, an entry point does here.
printf 'FROM standin/python:3.12\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null\n' |
    docker build --quiet --tag standin/redis:7 - >/dev/null
cat >"$context/entry.sh" <<'ENTRY'
#!/bin/sh
# Make the user that the environment names, in a configuration, as the public image does.
set -eu
echo '[rabbitmq_management].' >/tmp/enabled_plugins
printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\n' "$RABBITMQ_DEFAULT_USER" "$RABBITMQ_DEFAULT_PASS" >/tmp/rabbitmq.conf
export RABBITMQ_CONFIG_FILE=/tmp/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=/tmp/enabled_plugins RABBITMQ_LOGS=-
exec "$@"
ENTRY
cat >"$context/Dockerfile" <<'FILE'
FROM standin/python:3.12
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null \
    && rm -f /var/lib/rabbitmq/.erlang.cookie && ln -sf /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/* /usr/local/sbin/
COPY entry.sh /usr/local/bin/entry.sh
ENTRYPOINT ["entry.sh"]
USER rabbitmq
CMD ["rabbitmq-server"]
FILE
chmod 755 "$context/entry.sh"
docker build --quiet --tag standin/rabbitmq:3 "$context" >/dev/null
