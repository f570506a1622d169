#!/bin/sh
# Bring the database to the schema that this code needs, then become the server given as arguments.
set -eu

here=$0
if [ -L "$here" ]; then
    here=$(readlink -f -- "$here")
fi
CDPATH='' cd -- "$(dirname -- "$here")"

# ECS stops a task with SIGTERM, and dumb-init hands it to the whole process group. Without this trap the shell would
# die first and leave migrate to be killed in the middle of its roll-back; with it, the shell waits for migrate to end
# and then leaves without starting the server.
trap 'exit 143' TERM INT

# The same rules as in rupaya/environment.py, in the shell's own words: another start of Python would cost more than all
# that is written here.
format=${LOG_FORMAT:-}
if [ -z "$format" ] && [ "${RUPAYA_ENV:-}" = production ]; then
    format=json
fi
release=${RELEASE:-unknown}
task=${ECS_CONTAINER_METADATA_URI_V4:-}
task=${task%/}
task=${task##*/}
task=${task%%-*}

# say LEVEL MESSAGE: one line, in the format of the log.
say() {
    case $format in
    [Jj][Ss][Oo][Nn])
        # Nothing that a release or a machine is called by needs escaping; what is called otherwise is made to fit.
        case $release in *[!A-Za-z0-9._+-]*) release=$(printf %s "$release" | tr -c 'A-Za-z0-9._+-' '?') ;; esac
        printf '{"message": "%s", "time": "%s", "level": "%s", "logger": "migration", "release": "%s", "task": "%s"}\n' \
            "$2" "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$1" "$release" "${task:=$(uname -n)}"
        ;;
    *)
        printf '%s\n' "$2"
        ;;
    esac
}

if [ "$#" -eq 0 ]; then
    say ERROR "entrypoint.sh was given no server to start, such as 'gunicorn rupaya.wsgi'; nothing was done."
    exit 16
fi

# What gunicorn could not listen on is refused by migrate, before it changes anything: unless gunicorn is told another
# address than this environment's, or other settings.
case "${1##*/} $* ${GUNICORN_CMD_ARGS:-} " in
*' -b'* | *' --bind'* | *' -c'* | *' --config'*) serves_next= ;;
'gunicorn '*) serves_next=1 ;;
*) serves_next= ;;
esac

# An empty variable is one that is not set, as everywhere; but gunicorn reads this one before its settings.
case ${WEB_CONCURRENCY-} in
*[![:space:]]*) ;;
*) unset WEB_CONCURRENCY ;;
esac

say INFO "Running database migrations..."
status=0
# A shell says a word of its own when a child is killed. It is not in the format of the log, and the exit status tells as
# much, so meanwhile the shell's own standard error goes nowhere. (A redirection at the command itself would be the
# shell's too while it waits; that of a subshell is not, and `exec` makes it no process more.)
exec 3>&2 2>/dev/null
(
    [ -z "$serves_next" ] || export RUPAYA_SERVES_NEXT=1
    exec python manage.py migrate --noinput 2>&3 3>&-
) || status=$?
if [ "$status" -ne 0 ]; then
    say ERROR "Migrations failed with exit status $status; the server was not started." >&3
    exit "$status"
fi
exec 2>&3 3>&-

# The owner's credentials are for migrating alone. Its password is PGPASSWORD where the server has DB_CREDENTIALS.
unset MIGRATION_DATABASE_URL
[ -z "${DB_CREDENTIALS:-}" ] || unset PGPASSWORD

say INFO "Starting server..."
exec "$@"
