#!/bin/sh
# The main job, shown: what this machine can do, a container of the built-in
# image on its best rung, and the same once more on the last rung, where nothing
# but chroot and copied files is left. Everything is made in a directory of the
# demo's own and removed at the end.
set -eu
coracle=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/coracle-demo.XXXXXX")
export CORACLE_ROOT="$dir/state" CORACLE_RUN="$dir/run"

finish() {
	ids=$("$coracle" ps -aq 2>/dev/null || true)
	[ -z "$ids" ] || "$coracle" rm -f $ids >/dev/null 2>&1 || true
	"$coracle" network rm demo-river >/dev/null 2>&1 || true
	"$coracle" rmi -f box >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() {
	printf '$ coracle'
	printf ' %s' "$@"
	printf '\n'
	"$coracle" "$@"
}

say "What this machine can do, and the rung that each concern gets"
show probe

say "A container on the best rung"
show run --rm --network none --hostname boat box sh -c 'echo "hello from $(hostname), process $$"; id; ls /'

say "One that stays, used as one uses Docker"
show run -d --name web --network host box httpd -p 18080 -t 'afloat'
show exec web wget -q -O - http://127.0.0.1:18080/
show ps
show logs web
show stop web
show rm web

if "$coracle" probe | grep -q '^ *wiring *bridge'; then
	say "Two containers, wired by name"
	show network create demo-river
	show run -d --name boat --network demo-river -p 127.0.0.1:18081:80 box sh -c 'mkdir /w; echo "afloat on a river" > /w/index.html; httpd -f -p 80 -h /w'
	show run --rm --network demo-river box wget -q -O - http://boat/
	show port boat
	show rm -f boat
	show network rm demo-river
fi

if [ "$(id -u)" = 0 ]; then
	say "The last rung: chroot and copied files, no control groups"
	show --backend isolation=chroot,rootfs=copy,limits=rlimits run --rm --network host box sh -c 'echo "afloat all the same"; id -u; ls /'
fi
