#!/bin/sh
# Sets up the two authorities of docker-compose.yml and makes them partners. Overwrites nothing; may be repeated while the
# nodes do not run.
#
# A demonstration: it does on one machine, and for both sides, what two operators do on two. In service nobody holds both
# sides' secrets, the files travel by mail, and each fingerprint is read out over the telephone: that call is what the trust
# between two authorities stands on, and here a variable stands in for it.
set -eu
cd "$(dirname -- "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# A container that may not write the host's files reads them by their own mode, so the directory is what keeps others out.
umask 077
mkdir -p deploy/secrets
secret() { # NAME [TEXT]: a file under deploy/secrets, of random letters if there is no text
    file=deploy/secrets/$1
    [ ! -s "$file" ] || return 0
    printf '%s\n' "${2:-$(LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 32)}" >"$file.new"
    chmod 444 "$file.new"
    mv "$file.new" "$file"
}
for who in bw ae; do
    secret "$who-passphrase"
    secret "$who-database-superuser"
    secret "$who-database-password"
    secret "$who-database-url" "postgresql://kpnode:$(cat "deploy/secrets/$who-database-password")@$who-database/kpnode"
done

# A kpnode command of one side: in a container of its own, which starts that side's database if need be.
node() { who=$1; shift; docker compose run --rm -T "$who-node" "$@"; }
content() { docker compose run --rm -T --entrypoint cat "$1-node" "$2"; }

letters=$(mktemp -d)
trap 'rm -rf "$letters"' EXIT
trap 'exit 1' HUP INT TERM

say "1. Each side makes its keys, certificates, database and key record."
for who in bw ae; do
    node "$who" init </dev/null >&2
    # The fingerprint is on standard error, beside whatever Compose has to say there.
    node "$who" record </dev/null >"$letters/$who.record" 2>"$letters/$who.said"
    sed -n 's/^version [0-9]*, fingerprint //p' "$letters/$who.said" >"$letters/$who.fingerprint"
    [ -s "$letters/$who.fingerprint" ] || { cat "$letters/$who.said" >&2; exit 1; }
done

say ""
say "2. The key records are exchanged; the fingerprints are compared by another way (telephone, paper):"
say "     BW  $(cat "$letters/bw.fingerprint")"
say "     AE  $(cat "$letters/ae.fingerprint")"
say ""
say "3. Each side lets the other in: a place on its broker, and a grant to send back."
node bw partner add /dev/stdin --fingerprint "$(cat "$letters/ae.fingerprint")" <"$letters/ae.record" >&2
node ae partner add /dev/stdin --fingerprint "$(cat "$letters/bw.fingerprint")" <"$letters/bw.record" >&2
content bw /var/lib/kpnode/grants/AE.grant.json </dev/null >"$letters/bw-to-ae.grant"
content ae /var/lib/kpnode/grants/BW.grant.json </dev/null >"$letters/ae-to-bw.grant"

say ""
say "4. Each side accepts the grant that the other made for it."
node bw partner accept /dev/stdin <"$letters/ae-to-bw.grant" >&2
node ae partner accept /dev/stdin <"$letters/bw-to-ae.grant" >&2

say ""
say "Done. The brokers read the definitions when they start:"
say "  docker compose up -d --wait"
say "  docker compose exec bw-node kpnode doctor"
say "  docker compose exec bw-node kpnode apikey add customs --scope documents:write --scope documents:read"
