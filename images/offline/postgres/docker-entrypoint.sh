#!/bin/bash
# What the upstream entrypoint does for a server: the first start makes the cluster, the role and the database that the
# environment names and runs /docker-entrypoint-initdb.d; root gives its place to the user postgres.
#
# Unlike upstream's, a first start that is killed leaves nothing that a later one would take for a database: all is made
# in the folder .initialising and moved to its place when it is complete, PG_VERSION last.
set -eo pipefail

fail() { echo "docker-entrypoint.sh: $*" >&2; exit 1; }

# NAME, or the content of the file that NAME_FILE names.
value() { # name, default
  local file=$1_FILE
  if [ "${!1:-}" ] && [ "${!file:-}" ]; then fail "both $1 and $file are set: one of them is enough"; fi
  if [ "${!file:-}" ]; then cat "${!file}"; else echo "${!1:-$2}"; fi
}

initialise() { # folder
  local script password_file
  [ "$password" ] || [ "${POSTGRES_HOST_AUTH_METHOD:-}" = trust ] || fail "POSTGRES_PASSWORD is not set"
  password_file=$(mktemp)
  printf '%s\n' "$password" >"$password_file"
  # shellcheck disable=SC2086 # several options in one variable
  initdb -D "$1" -U "$POSTGRES_USER" --encoding=UTF8 ${password:+--pwfile="$password_file"} ${POSTGRES_INITDB_ARGS:-}
  rm "$password_file"
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$1/pg_hba.conf"

  # By the socket alone: who waits for the port waits for the real start.
  pg_ctl -D "$1" -w -o "-c listen_addresses='' -c logging_collector=off" start
  [ "$POSTGRES_DB" = postgres ] || createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) if [ -x "$script" ]; then echo "$script"; "$script"; else echo "$script (sourced)"; . "$script"; fi ;;
      *.sql) echo "$script"; sql -f "$script" ;;
      *.sql.gz) echo "$script"; gunzip -c "$script" | sql ;;
      *) [ ! -e "$script" ] || echo "$script is neither a .sh nor a .sql file: left aside" ;;
    esac
  done
  pg_ctl -D "$1" -w -m fast stop
}

sql() { psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --no-password --dbname "$POSTGRES_DB" "$@"; }

case ${1:-} in -*) set -- postgres "$@" ;; esac
case " $* " in *" --help "* | *" -? "* | *" --version "* | *" -V "* | *" --describe-config "*) exec "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"

mkdir -p "$PGDATA"
if [ "$(id -u)" = 0 ]; then
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
  chmod 700 "$PGDATA"
  export HOME=/var/lib/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
chmod 700 "$PGDATA" || true # a volume that belongs to another: postgres says what is wrong with it

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  new=$PGDATA/.initialising
  # Scripts of initdb.d read these. An assignment of its own lets a failure in value() end the script.
  POSTGRES_USER=$(value POSTGRES_USER postgres)
  POSTGRES_DB=$(value POSTGRES_DB "$POSTGRES_USER")
  password=$(value POSTGRES_PASSWORD "")
  export POSTGRES_USER POSTGRES_DB PGPASSWORD="$password"
  if [ ! -e "$new/complete" ]; then
    rm -rf "$new"
    others=$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found ! -name .initialising)
    [ ! "$others" ] || fail "$PGDATA has files and no database: give it an empty volume"
    mkdir "$new"
    initialise "$new/cluster"
    touch "$new/complete"
  fi
  # Each move is a rename; a start that was killed between two goes on with what is left.
  find "$new/cluster" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  mv "$new/cluster/PG_VERSION" "$PGDATA/"
  unset PGPASSWORD password
fi
rm -rf "$PGDATA/.initialising"

exec "$@"
