#!/usr/bin/env bash
# `make engine`: a running Docker Engine with compose and buildx. Safe to run again: an Engine that answers and is new
# enough is left alone, whoever installed it. On Debian, as root, it installs and starts Debian's own; it removes no
# package and touches neither Docker's own packages nor a daemon that runs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/versions.env"
log=/var/log/dockerd.log
apt_log=/var/log/fti-engine-apt.log

stop() { echo "$*" >&2; exit 2; } # something the machine must have first

engine_version() { docker version --format '{{.Server.Version}}' 2>/dev/null; }

new_enough() { # version
  local major=${1%%.*}
  [[ $major =~ ^[0-9]+$ ]] && [ "$major" -ge "$ENGINE_MINIMUM" ]
}

plugins_there() { docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; }

debian_root_only() { # why it matters
  local id=
  [ ! -r /etc/os-release ] || id=$(. /etc/os-release && echo "${ID:-}")
  [ "$id" = debian ] && command -v apt-get >/dev/null || stop "$1 This is no Debian machine: install Docker Desktop or Docker Engine $ENGINE_MINIMUM or newer, with compose and buildx."
  [ "$(id -u)" = 0 ] || stop "$1 Install Docker Desktop or Docker Engine, or run as root."
}

apt() { # apt-get with nobody to ask; what it says goes into the log
  DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-remove "$@" >>"$apt_log" 2>&1 ||
    { tail -15 "$apt_log" >&2; echo "apt-get failed: the lines above are the last of $apt_log. Mend that and run \`make engine\` again." >&2; exit 1; }
}

candidate() { apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'; }

# Installs packages, from Debian's next suite where this machine's own is too old: in package lists of their own, so
# that the machine's own stay as they are. Newer libraries come along, libc6 among them.
install_packages() {
  : >"$apt_log"
  apt update
  if new_enough "$(candidate docker.io)"; then
    echo "Installing Docker Engine $(candidate docker.io) from this machine's Debian."
    apt install --no-install-recommends iptables pigz "$@"
    return
  fi
  local next repository sources=
  next=$(mktemp -d)
  mkdir -p "$next"/{sources,lists/partial,cache/archives/partial}
  for repository in Debian: Debian-Security:-security; do
    local label=${repository%%:*} suffix=${repository#*:} uri
    uri=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
      sed -n "s/^Debian|$label|main|//p" | head -1)
    [ "$uri" ] || continue
    sources=yes
    printf 'Types: deb\nURIs: %s\nSuites: %s%s\nComponents: main\nSigned-By: %s\n' \
      "$uri" "$ENGINE_SUITE" "$suffix" /usr/share/keyrings/debian-archive-keyring.gpg >"$next/sources/$label.sources"
  done
  [ "$sources" ] || stop "apt knows no repository of Debian: mend /etc/apt/sources.list, or install Docker Engine yourself."
  local options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$next/sources"
    -o "Dir::State::Lists=$next/lists" -o "Dir::Cache=$next/cache" -o APT::Sandbox::User=root)
  # The older containerd and runc of this machine's suite do; the fewer packages of the next one, the better.
  echo "Docker Engine here would be $(candidate docker.io): taking it from Debian $ENGINE_SUITE, with the libraries it needs."
  apt install --no-install-recommends iptables pigz runc containerd
  apt "${options[@]}" update
  apt "${options[@]}" install --no-install-recommends "$@"
  rm -rf "$next"
}

# The number in a file that a killed Engine left may by now be another process's, which a new one takes for the old.
forget() { # program, its pid file
  local pid
  pid=$(cat "$2" 2>/dev/null) || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] || rm -f "$2"
}

start() {
  if [ -d /run/systemd/system ]; then
    systemctl start docker.service || true
    log="journalctl -u docker.service"
  else
    forget dockerd /var/run/docker.pid
    forget containerd /var/run/docker/containerd/containerd.pid
    if [ ! -e /var/run/docker.pid ]; then # none is starting
      # In a session of its own: it outlives this script, make and the terminal.
      setsid dockerd >>"$log" 2>&1 </dev/null &
    fi
  fi
  for _ in $(seq 120); do
    engine_version >/dev/null && return
    sleep 0.5
  done
  [ ! -r "$log" ] || tail -15 "$log" >&2
  echo "The Docker Engine did not start: see $log." >&2
  exit 1
}

began=$SECONDS
if version=$(engine_version); then
  new_enough "$version" ||
    stop "Docker Engine $version is running, $ENGINE_MINIMUM or newer is needed: upgrade it, or stop it and run \`make engine\` as root on Debian."
  if plugins_there; then
    echo "Docker Engine $version is running already, with compose and buildx: nothing to do."
    exit 0
  fi
  owner=$(dpkg-query -S "$(command -v dockerd || echo none)" 2>/dev/null | cut -d: -f1 || true)
  [ "$owner" = docker.io ] ||
    stop "Docker Engine $version is running, without compose or buildx: install its plugins (docker-compose-plugin, docker-buildx-plugin)."
  debian_root_only "Docker Engine $version is running, without compose or buildx."
  install_packages docker-cli docker-compose docker-buildx
else
  if [ "$(id -u)" != 0 ] && [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
    stop "This user may not use the Docker Engine of this machine: join the group docker, or run as root."
  fi
  debian_root_only "No Docker Engine answers."
  installed=$(dockerd --version 2>/dev/null | sed -n 's/^Docker version \([^,]*\),.*/\1/p' || true)
  if dpkg-query -W -f '${Status}' docker-ce 2>/dev/null | grep -q ' installed$'; then
    # Docker's own packages and Debian's exclude each other: they are not ours to change.
    new_enough "$installed" || stop "Docker's own package docker-ce is installed, version $installed; $ENGINE_MINIMUM or newer is needed: upgrade it."
    plugins_there || stop "Docker's own package docker-ce is installed, without compose or buildx: install docker-compose-plugin and docker-buildx-plugin."
  elif ! new_enough "$installed" || ! plugins_there; then
    install_packages docker.io docker-cli docker-compose docker-buildx
  fi
  start
fi

version=$(engine_version) || stop "The Docker Engine does not answer: see $log."
plugins_there || stop "Docker Engine $version is running, without compose or buildx: see $apt_log."
echo "Docker Engine $version is running, with $(docker compose version --short 2>/dev/null | sed 's/^/compose /') and buildx, after $((SECONDS - began)) s. Its log: $log"
