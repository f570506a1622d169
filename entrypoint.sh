#!/bin/sh
# Bring the database to the schema that this code needs, then become the server given as arguments.
set -eu

cd "$(dirname "$0")"

# ECS stops a task with SIGTERM, and dumb-init hands it to the whole process group. Without this trap the shell would
# die first and leave migrate to be killed in the middle of its roll-back; with it, the shell waits for migrate to end
# and then leaves without starting the server.
trap 'exit 143' TERM INT

echo "Running database migrations..."
status=0
python manage.py migrate --noinput || status=$?
if [ "$status" -ne 0 ]; then
    echo "Migrations failed with exit status $status; the server was not started." >&2
    exit "$status"
fi

# The owner's credentials are for migrating alone.
unset MIGRATION_DATABASE_URL

echo "Starting server..."
exec "$@"
