# The guardian of a node. It waits on standard input, a pipe whose other end is held
# by the node's owners, and ends the node when the last owner is gone for whatever
# reason. Arguments: the node's folder; how many seconds the node stays up without
# an owner; how many while process $4 is alive; that process (a "go test" that may
# start more test binaries) or 0; the file that makes the node known to others, and
# its lock file, or "".
dir=$1 linger=$2 longest=$3 run=$4 state=$5 lock=$6

trap '' HUP INT QUIT
trap 'exec /bin/sh "$dir/stop"' TERM

# Reads words until every owner has closed its end.
listen() {
	while read -r word; do
		case $word in
		detach) exit 0 ;;
		end) exec /bin/sh "$dir/stop" ;;
		keep) exec /bin/sh "$dir/stop" keep ;;
		esac
	done
}

# Succeeds if others can find this node, and not one that took its place.
known() { [ -n "$state" ] && grep -qsF -- "\"$dir\"" "$state"; }

while :; do
	listen
	known || break
	alone=0
	while [ "$alone" -lt "$linger" ] || { [ "$run" != 0 ] && [ "$alone" -lt "$longest" ] && kill -0 "$run" 2>/dev/null; }; do
		sleep 1
		alone=$((alone + 1))
		if read -r word; then continue 2; fi # a new owner has sent "join"
	done
	known || break
	# From here on, nobody can find the node. An owner that found it just before has sent
	# "join" by now.
	mv "$state" "$state.ending"
	if read -r word; then
		mv "$state.ending" "$state"
		continue
	fi
	rm -f "$state.ending" "$lock"
	break
done
exec </dev/null
sleep 0.1 # for a process that the owner was just starting
exec /bin/sh "$dir/stop"
