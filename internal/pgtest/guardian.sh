# Runs a server in the folder $DIR until its owner has ended, which closes this script's standard input, and removes the
# folder. A server that was killed is started again.
trap '' INT TERM HUP
"$BIN/initdb" -D "$DIR/data" -U postgres -A scram-sha-256 --pwfile="$DIR/password" -E UTF8 --locale=C.UTF-8 \
  --locale-provider=icu --icu-locale=en-US --no-sync >"$DIR/log" 2>&1 </dev/null || touch "$DIR/over"
while [ ! -e "$DIR/over" ]; do
  "$BIN/postgres" -D "$DIR/data" -k "$DIR" -p "$PORT" -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300 \
    -c shared_buffers=64MB -c autovacuum_naptime=10s -c jit=off -c logging_collector=off >>"$DIR/log" 2>&1 </dev/null
  sleep 0.2
done &
loop=$!
cat >/dev/null
touch "$DIR/over"
# The server may be starting still, and have no pid yet.
while kill -0 "$loop" 2>/dev/null; do
  kill -QUIT "$(head -n 1 "$DIR/data/postmaster.pid" 2>/dev/null)" 2>/dev/null
  sleep 0.1
done
wait
rm -rf "$DIR"
