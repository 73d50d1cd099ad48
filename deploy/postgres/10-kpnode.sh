#!/bin/bash
# Once, when the database is made: the node's own role. It owns its database and may do nothing to the server.
set -eu
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v database="$POSTGRES_DB" -v password="$(cat /run/secrets/kpnode)" <<'SQL'
CREATE ROLE kpnode LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO kpnode;
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
