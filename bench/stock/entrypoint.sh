#!/bin/sh
# The usual one: migrate, then become the server given as arguments.
set -eu

cd "$(dirname "$0")/../.."

echo "Running database migrations..."
python bench/stock/manage.py migrate --noinput

echo "Starting server..."
exec "$@"
