#!/usr/bin/env bash
# What the benches use of Debian: redis-server, redis-cli and wrk. Where they cannot be installed, the sides that need
# them say so, and the others run.
set -euo pipefail
missing=()
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
command -v wrk >/dev/null || missing+=(wrk)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${missing[*]} with apt-get."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
else
  echo "Not installed: ${missing[*]}. Install them for the comparisons that need them." >&2
fi
