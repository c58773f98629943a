#!/bin/sh
# Both commands in a bare Debian 12, as root and as an ordinary user with sudo:
#
#     make check-fresh                  both users, every suite (an hour on two cores)
#     make check-fresh CHECK='--only text,unit,cli' FRESH=root
#
# Needs root, debootstrap, and about 4 GB below build/fresh.  The mirror is the
# one that this machine itself uses.  Everything happens in mount and pid
# namespaces of its own, so nothing stays mounted or running.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
	echo "check-fresh needs root: debootstrap and chroot" >&2
	exit 1
fi
if [ "${GPUPOOL_FRESH_INSIDE-}" != 1 ]; then
	exec env GPUPOOL_FRESH_INSIDE=1 unshare --mount --pid --fork --kill-child --propagation private sh "$0"
fi

where=$PWD/build/fresh
base=$where/base
users=${FRESH:-root user}
passed=0
failed=0

mirror() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) bookworm main.*/\2/p' | head -n 1
}

make_base() {
	[ -e "$base.done" ] && return
	rm -rf "$base"
	mkdir -p "$base"
	debootstrap --variant=minbase bookworm "$base" "$(mirror)" >"$where/debootstrap.log" 2>&1 || {
		tail -n 20 "$where/debootstrap.log" >&2
		exit 1
	}
	# The same sources as here (security updates bring the libfcgi that is needed).
	rm -f "$base/etc/apt/sources.list"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian*; do
		if [ -s "$file" ]; then cp "$file" "$base/etc/apt/${file#/etc/apt/}"; fi
	done
	for file in /etc/apt/apt.conf.d/*; do
		if grep -qiE 'proxy|verify' "$file" 2>/dev/null; then cp "$file" "$base/etc/apt/apt.conf.d/"; fi
	done
	touch "$base.done"
}

# A root of its own, as bare as the first one.
make_root() {
	root=$where/$1
	rm -rf "$root"
	cp -a "$base" "$root"
	cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
	mount -t proc proc "$root/proc"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs -o mode=755 dev "$root/dev"
	for node in null zero full random urandom tty; do
		touch "$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	mkdir "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "$root/dev/${n#*:}"; done
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
}

# A command with that root as its own.  pivot_root rather than chroot: whoever is
# in a chroot may not make user namespaces, which bubblewrap needs.
inside() {
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c '
		mount --rbind "$1" "$1" && cd "$1" && mkdir -p .before && pivot_root . .before && cd / && umount -l .before || exit 125
		shift
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb ${http_proxy:+http_proxy="$http_proxy"} \
			${https_proxy:+https_proxy="$https_proxy"} "$@"
	' sh "$root" "$@"
}

verdict() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok: $1"
	else
		failed=$((failed + 1))
		echo "FAILED: $1"
	fi
}

# Until the log says that it is ready, or the process has ended.
wait_ready() {
	n=0
	while ! grep -q '^ready http://127.0.0.1:8080/' "$1"; do
		n=$((n + 1))
		if [ "$n" -gt 9000 ] || ! kill -0 "$2" 2>/dev/null; then return 1; fi
		sleep 0.1
	done
}

try_user() {
	who=$1
	make_root "$who"
	inside sh -c 'apt-get -q update && apt-get -qq install -y --no-install-recommends git make ca-certificates' >"$where/$who-first.log" 2>&1
	home=/root
	run="env HOME=/root"
	if [ "$who" = user ]; then
		home=/home/person
		inside sh -c 'apt-get -qq install -y --no-install-recommends sudo && useradd -m -s /bin/sh person && chmod 700 /home/person &&
			echo "person ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/person' >>"$where/$who-first.log" 2>&1
		run="setpriv --reuid person --regid person --init-groups env HOME=$home USER=person"
	fi
	git clone -q --no-local . "$root$home/gpupool"
	inside chown -R "$(basename "$home" | sed 's/^root$/root/'):" "$home/gpupool"

	# shellcheck disable=SC2086
	inside sh -c 'echo $$ >/run/make.pid; exec "$@"' sh $run make -C "$home/gpupool" run >"$where/$who-run.log" 2>&1 </dev/null &
	shell=$!
	ok=0
	wait_ready "$where/$who-run.log" "$shell" || ok=1
	grep -q '"accuracy"' "$where/$who-run.log" || ok=1
	verdict "$who: make run becomes ready and shows the example's accuracy" "$ok"
	# make is not a child of this shell: its pid is the same in here as out there.
	kill -TERM "$(cat "$root/run/make.pid")" 2>/dev/null || true
	wait "$shell" || true
	ok=0
	grep -q '^stopping' "$where/$who-run.log" || ok=1
	if inside sh -c 'ls -d /run/gpupool-* /tmp/gpupool-* 2>/dev/null | grep .'; then ok=1; fi
	verdict "$who: SIGTERM stops it" "$ok"
	ok=0
	# shellcheck disable=SC2086
	inside $run make -C "$home/gpupool" check CHECK="${CHECK-}" >"$where/$who-check.log" 2>&1 </dev/null || ok=1
	tail -n 1 "$where/$who-check.log"
	verdict "$who: make check" "$ok"
	ok=0
	if inside sh -c 'ls /var/lib/postgresql/15/main >/dev/null 2>&1'; then ok=1; fi
	verdict "$who: no cluster of Debian's was made" "$ok"
}

mount -t proc proc /proc
mkdir -p "$where"
make_base
for user in $users; do
	try_user "$user"
done
echo "logs are in build/fresh"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
