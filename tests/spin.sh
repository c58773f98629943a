#!/bin/sh
# The models below tests/spin through every state: as they are, they hold; with
# any one safeguard left out, spin finds how it goes wrong.
set -u
cd "$(dirname "$0")/spin" || exit 1
passed=0
failed=0
if ! command -v spin >/dev/null 2>&1; then
	echo "there is no spin here"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$PWD

# explore DEFINES…: "holds", the first thing that does not, or what went wrong.
explore() {
	rm -f "$work"/*
	(
		cd "$work" || exit
		cp "$here/quota.pml" . &&
			spin -a "$@" quota.pml >log 2>&1 &&
			"${CC:-cc}" -w -O1 -DSAFETY -DCOLLAPSE -DMEMLIM=3000 -o pan pan.c >>log 2>&1 &&
			./pan -m200000 >log 2>&1
		if grep -q '^pan:1: assertion violated' log; then
			sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' log | head -1
		elif grep -q 'errors: 0' log && ! grep -q 'max search depth too small\|out of memory\|Search not completed' log; then
			echo holds
		else
			tail -5 log
		fi
	)
}

# expect PATTERN DEFINES…
expect() {
	pattern=$1
	shift
	found=$(explore "$@")
	# shellcheck disable=SC2254
	case $found in
	$pattern) passed=$((passed + 1)) ;;
	*)
		echo "quota.pml $*: expected $pattern, found $found"
		failed=$((failed + 1))
		;;
	esac
}

one="-DWORKERS=1 -DTRIES=1 -DSTALLS=2 -DDEATHS=2"
again="-DWORKERS=1 -DTRIES=2"
two="-DWORKERS=2 -DTRIES=1 -DSTALLS=0"
# shellcheck disable=SC2086
{
	expect holds $one
	expect holds $again
	expect holds $two
	expect holds $two -DSLOTS=1
	# Lock and constraint: each is enough alone, and without both the limit is passed.
	expect holds $two -DLIMIT=2 -DNOLOCK
	expect holds $two -DLIMIT=2 -DNOCONSTRAINT
	expect 'assertion violated ((used+reserved)*' $two -DLIMIT=2 -DNOLOCK -DNOCONSTRAINT
	# Two runs of one intent.
	expect 'assertion violated *existed*' $one -DNOFIND
	expect 'assertion violated *existed*' $one -DNOSETTLE
	expect 'assertion violated *existed*' $one -DNOCLAIM
	# More used than the ledger knows.
	expect 'assertion violated (truth*' $two -DHASTY
	expect 'assertion violated (truth*' $two -DNOWATCH
	expect 'assertion violated (truth*' $again -DNOWATCH
	expect 'assertion violated (truth*' $again -DNOTIMEOUT
}
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
