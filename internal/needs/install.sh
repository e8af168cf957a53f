#!/bin/sh
# Installs what the tests (and, with "bench", the benchmarks) need beside Go,
# from the machine's own Debian package sources, and makes the Debian tree that
# they run. Idempotent: what is there is left alone.
set -eu
cd "$(dirname "$0")/../.."

# package:program that shows it is there
tests="skopeo:skopeo docker-registry:docker-registry umoci:umoci mmdebstrap:mmdebstrap uidmap:newuidmap busybox-static:/bin/busybox
e2fsprogs:mkfs.ext4 xfsprogs:mkfs.xfs btrfs-progs:mkfs.btrfs gcc:gcc libc6-dev:/usr/include/stdio.h
docker.io:dockerd util-linux:setpriv libcap2-bin:capsh attr:setfattr acl:setfacl strace:strace
procps:ps iproute2:ip iputils-ping:ping iptables:iptables nftables:nft xz-utils:xz psmisc:pstree qemu-user-static:qemu-aarch64-static rpm:rpm shellcheck:shellcheck
runit:runsv supervisor:supervisord s6:s6-svscan zsh:zsh fish:fish rsyslog:rsyslogd
qemu-system-x86:qemu-system-x86_64 qemu-system-arm:qemu-system-aarch64
curl:curl iperf3:iperf3 bind9-dnsutils:dig postgresql-client:psql redis-tools:redis-cli make:make bc:bc flex:flex bison:bison patch:patch debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg"
bench="podman:podman runc:runc bubblewrap:bwrap"
[ "${1:-}" = bench ] && tests="$tests $bench"

missing=
PATH="$PATH:/usr/sbin:/sbin"
for pair in $tests; do
	program=${pair#*:}
	case $program in
	/*) [ -e "$program" ] || missing="$missing ${pair%%:*}" ;;
	*) command -v "$program" >/dev/null 2>&1 || missing="$missing ${pair%%:*}" ;;
	esac
done
if [ -n "$missing" ]; then
	line="apt-get install -y --no-install-recommends$missing"
	if [ "$(id -u)" != 0 ]; then
		echo "the tests need more programs; as root, run:" >&2
		echo "  $line" >&2
		exit 1
	fi
	echo "installing:$missing"
	# A package list that cannot be refreshed may still be good enough.
	apt-get update -qq || echo "apt-get update failed; going on with the lists there are" >&2
	# A service that a package brings must not start on this machine.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
		trap 'rm -f $policy' EXIT
	fi
	DEBIAN_FRONTEND=noninteractive $line -qq >/dev/null
fi

# The real input: a Debian root filesystem, with a C program that forks and
# leaves zombies to whoever is its init.
tree=build/debian.tar
if [ ! -s "$tree" ] && [ "$(id -u)" = 0 ]; then
	mkdir -p build
	echo "making $tree"
	gcc -O1 -o build/zombies internal/e2e/testdata/zombies.c
	mmdebstrap --quiet --format=tar --variant=minbase --include=perl-base \
		--customize-hook='copy-in build/zombies /usr/local/bin' \
		"$(. /etc/os-release && echo "$VERSION_CODENAME")" "$tree.part"
	mv "$tree.part" "$tree"
fi

# The programs that people's Compose files run, without what nobody reads there:
# PostgreSQL's compiler alone is a third of it, and it does without.
services=build/services.tar
if [ ! -s "$services" ] && [ "$(id -u)" = 0 ]; then
	echo "making $services"
	mmdebstrap --quiet --format=tar --variant=minbase --include=nginx-light,redis-server,redis-tools,postgresql \
		--customize-hook='rm -rf "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale "$1"/usr/share/info "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/postgresql/*/lib/bitcode "$1"/var/lib/postgresql/*/main' \
		"$(. /etc/os-release && echo "$VERSION_CODENAME")" "$services.part"
	mv "$services.part" "$services"
fi

# docker compose, to compare with: this Debian has none, a newer one has. Its
# packages are read with a configuration of their own, and nothing is installed.
compose=build/compose
if [ ! -x "$compose/docker-compose" ]; then
	mkdir -p "$compose/apt/lists/partial" "$compose/apt/archives/partial" "$compose/apt/parts"
	mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n1)
	apt="$PWD/$compose/apt"
	for suite in sid trixie; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $suite main" >"$apt/sources.list"
		options="-o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=$apt/parts -o Dir::Etc::parts=$apt/parts
			-o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt -o Dir::Cache::archives=$apt/archives -o APT::Sandbox::User=root"
		# shellcheck disable=SC2086
		if apt-get $options update -qq && (cd "$apt" && apt-get $options download -qq docker-compose) && dpkg -x "$apt"/docker-compose_*.deb "$apt/x"; then
			mv "$apt/x/usr/libexec/docker/cli-plugins/docker-compose" "$compose/docker-compose"
			break
		fi
		echo "no docker compose from $suite" >&2
	done
	rm -rf "$apt"
fi

# Root filesystems for the tests of init systems, each of which would push the
# machine's own away.
if [ "$(id -u)" = 0 ]; then
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -p build/inits
	for pair in systemd:systemd-sysv sysv:sysvinit-core,sysv-rc,initscripts openrc:openrc; do
		tree=build/inits/${pair%%:*}.tar
		[ ! -s "$tree" ] || continue
		echo "making $tree"
		mmdebstrap --quiet --format=tar --variant=minbase --include="${pair#*:}" \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$tree.part"
		mv "$tree.part" "$tree"
	done
fi
