#!/bin/sh
# Ends the RabbitMQ node of this folder: kills its Erlang VM, and epmd unless other
# nodes of its cluster use it, and removes the folder. "sh stop keep" keeps the folder.
dir=@dir@
mark=@mark@
cluster=@cluster@
remove=@remove@
[ "$1" = keep ] && remove=no
trap '' HUP INT QUIT TERM

# Lists the processes that have a text in their environment: epmd, or all others.
# Nodes of a cluster share one epmd, which has the marks of the node that started it.
marked() {
	if [ -r /proc/self/environ ]; then
		grep -lsF -- "$1" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
			{ read -r name <"/proc/$pid/comm"; } 2>/dev/null && echo "$pid $name"
		done
	else
		{ ps -axwwE -o pid=,command= 2>/dev/null || ps -axwwe -o pid=,command=; } |
			while read -r pid command; do
				case $command in *"$1"*) echo "$pid ${command%% *}" ;; esac
			done
	fi | while read -r pid name; do
		case ${name##*/} in epmd) kind=epmd ;; *) kind=others ;; esac
		[ $kind = "$2" ] && echo "$pid"
	done
}

end() {
	tries=0
	while [ "$tries" -lt 200 ]; do
		pids=$(marked "$mark" others)
		if [ -z "$pids" ] && [ -z "$(marked "$cluster" others)" ]; then
			pids=$(marked "$cluster" epmd)
		fi
		[ -n "$pids" ] || break
		kill -9 $pids 2>/dev/null
		sleep 0.02 2>/dev/null || sleep 1
		tries=$((tries + 1))
	done
	cd / && [ "$remove" = yes ] && rm -rf -- "$dir"
	exit 0
}
end
