#!/bin/sh
# What the upstream entrypoint does: options alone mean redis-server, and root gives its place to the user redis.
set -eu

case ${1:-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis: {} +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
  fi
  umask 0077
  # Upstream is compiled with protected mode off: a container is reached from outside itself or not at all.
  asked=$(printf '%s\n' "$@" | grep -e '^--protected-mode' || true)
  case ${2:-} in
    *.conf) asked=$asked$(grep -is '^ *protected-mode' "$2" || true) ;;
  esac
  [ "$asked" ] || set -- "$@" --protected-mode no
fi

exec "$@"
