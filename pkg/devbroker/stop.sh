#!/bin/sh
# Ends the RabbitMQ node of this folder: kills its Erlang VM and epmd, and removes
# the folder. "sh stop keep" keeps the folder.
dir=@dir@
mark=@mark@
remove=@remove@
[ "$1" = keep ] && remove=no
trap '' HUP INT QUIT TERM

# Lists the node's processes, all of which have the mark in their environment.
marked() {
	if [ -r /proc/self/environ ]; then
		grep -lsF -- "$mark" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do echo "$pid"; done
	else
		{ ps -axwwE -o pid=,command= 2>/dev/null || ps -axwwe -o pid=,command=; } |
			while read -r pid command; do
				case $command in *"$mark"*) echo "$pid" ;; esac
			done
	fi
}

end() {
	tries=0
	while pids=$(marked) && [ -n "$pids" ] && [ "$tries" -lt 200 ]; do
		kill -9 $pids 2>/dev/null
		sleep 0.02 2>/dev/null || sleep 1
		tries=$((tries + 1))
	done
	cd / && [ "$remove" = yes ] && rm -rf -- "$dir"
	exit 0
}
end
