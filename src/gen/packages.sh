#!/bin/sh
# Installs the Debian packages that a target lacks:  packages.sh build|run|check|bench|fresh
#
# As root by apt-get; as another user by sudo where sudo lets them; otherwise it
# prints the exact line to run and fails.  Nothing is asked, no service that a
# package brings is started, and no database cluster made.
set -eu

# install PACKAGE…: the part that needs root.  policy-rc.d is how Debian is told
# not to start a service (a policy that is there stays); the createcluster
# setting keeps PostgreSQL's package from making a cluster of its own.
install() {
	policy=/usr/sbin/policy-rc.d
	cluster=/etc/postgresql-common/createcluster.d
	quiet=$(mktemp)
	made=
	trap 'rm -f "$quiet" "$cluster/gpupool.conf" ${made:+"$policy"}' EXIT
	trap 'exit 130' HUP INT TERM
	if [ ! -e "$policy" ]; then
		made=1
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	mkdir -p "$cluster"
	echo "create_main_cluster = false" >"$cluster/gpupool.conf"
	export DEBIAN_FRONTEND=noninteractive
	if ! apt-get -q update >"$quiet" 2>&1 ||
		! apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >"$quiet" 2>&1; then
		cat "$quiet" >&2
		return 1
	fi
}

if [ "${1-}" = install ]; then
	shift
	install "$@"
	exit
fi

build="gcc libc6-dev make pkg-config libpq-dev libjson-c-dev libcurl4-openssl-dev libsodium-dev libfcgi-dev libwebsockets-dev libssl-dev"
run="$build postgresql-15 nginx-light python3 python3-venv python3-sklearn bubblewrap"
check="$run check clang libclang-rt-14-dev python3-pytest python3-cryptography python3-selenium chromium chromium-driver shellcheck openssl procps spin"
case ${1-} in
build) wanted=$build ;;
run) wanted=$run ;;
check) wanted=$check ;;
bench) wanted="$check nodejs npm" ;;
fresh) wanted="debootstrap" ;;
*)
	echo "usage: packages.sh build|run|check|bench|fresh" >&2
	exit 2
	;;
esac

# A full nginx serves as well as nginx-light does.
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] && wanted=$(echo " $wanted " | sed 's/ nginx-light / /')

# libfcgi before this version has a heap overflow (CVE-2025-23016).
fcgi_least="2.4.2-2+deb12u1"

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "This is not Debian: install what corresponds to these packages yourself:" >&2
	echo "  $wanted" >&2
	exit 0
fi

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | head -c 9)" = installed ]
}

lacking=
for package in $wanted; do
	case $package in
	gcc | make | nodejs | npm) command -v "${package%js}" >/dev/null 2>&1 && continue ;;
	pkg-config) command -v pkg-config >/dev/null 2>&1 && continue ;;
	libcurl4-openssl-dev) pkg-config --exists libcurl 2>/dev/null && continue ;;
	esac
	installed "$package" || lacking="$lacking $package"
done
have=$(dpkg-query -W -f '${Version}' libfcgi0ldbl 2>/dev/null || true)
if [ -n "$have" ] && dpkg --compare-versions "$have" lt "$fcgi_least"; then
	lacking="$lacking libfcgi-dev libfcgi0ldbl"
fi
[ -n "$lacking" ] || exit 0

by_hand="apt-get update && apt-get install -y --no-install-recommends$lacking"
as_root=
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
		as_root=sudo
	else
		echo "These Debian packages are missing, and only root may install them.  Please run:" >&2
		echo "  su -c '$by_hand'" >&2
		exit 1
	fi
fi

echo "installing:$lacking"
# shellcheck disable=SC2086
if ! $as_root sh "$0" install $lacking </dev/null; then
	echo "The packages could not be installed.  By hand:  $by_hand" >&2
	exit 1
fi
