#!/bin/sh
# README.md against what the programs say of themselves.
# shellcheck disable=SC2016
set -u
cd "$(dirname "$0")/.." || exit 1
bin=${GPUPOOL_BIN:-build/release}
passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# same NAME: $work/told (README) and $work/true (the program) must be one.
same() {
	if diff -u "$work/told" "$work/true" >"$work/diff"; then passed=$((passed + 1)); else
		echo "README.md and the program differ in: $1"
		cat "$work/diff"
		failed=$((failed + 1))
	fi
}

# The first column of the table below a heading, without quotes.
table() {
	awk -v head="## $1" '$0 == head { on = 1; next } /^## / { on = 0 } on && /^\| `/' README.md | cut -d'|' -f2 | grep -o '`[^`]*`' | tr -d '`'
}

table Settings | sort >"$work/told"
env -i "$bin/gpupool-web" --print-config | sed 's/ = .*//' | sort >"$work/true"
same settings

awk '/^## /{ if ($0 == "## Settings") on = 1; else on = 0 } on && /^\| `/' README.md |
	awk -F'|' '{ gsub(/[ `]/, "", $2); gsub(/^ +| +$/, "", $3); print $2, $3 }' | grep -v STATE | grep -v PORT | sort >"$work/told"
env -i "$bin/gpupool-web" --print-config | grep -vE '^(browser_dir|keys|listen|local_dir|store|public_url) =' |
	sed 's/ = / /; s/ $//; s/ 2147483648$/ 2g/; s/ 10737418240$/ 10g/; s/ 1048576$/ 1m/; s/ 67108864$/ 64m/' | sort >"$work/true"
sed -i 's/ *$//' "$work/told" "$work/true"
same "defaults of settings"

table Tests | sort >"$work/told"
/usr/bin/python3 tests/run.py --list | sort >"$work/true"
same suites

awk '/^```mermaid$/,/^```$/' README.md >"$work/told"
"$bin/gpupool" fsm >"$work/true"
same "state machines"

awk '$0 == "| exit status | meaning |" { on = 1 } on && /^\| [0-9]/ { print $2 } /^$/ { on = 0 }' README.md | sort -n >"$work/told"
sed -n 's/.*EXIT_[A-Z_]* = \([0-9]*\),.*/\1/p; s/.*EXIT_INTERRUPTED = \([0-9]*\).*/\1/p' include/cli/command.h | sort -nu >"$work/true"
same "exit statuses"

# Every file and command that README names is there.
for path in $(grep -oE '`(src|include|sql|nginx|static|tests)/[A-Za-z0-9_./-]*`' README.md | tr -d '`' | grep -vE '(/|_)x\.|NNNN|\*' | sort -u); do
	if [ -e "$path" ]; then passed=$((passed + 1)); else
		echo "README.md names $path, which is not there"
		failed=$((failed + 1))
	fi
done
grep -oE '^    gpupool [a-z-]+( [a-z-]+)?' README.md | sed 's/^    gpupool //' | sort -u >"$work/lines"
while read -r first second; do
	# shellcheck disable=SC2086
	if "$bin/gpupool" $first $second --help >/dev/null 2>&1 || "$bin/gpupool" "$first" --help >/dev/null 2>&1; then passed=$((passed + 1)); else
		echo "README.md shows gpupool $first $second, which is no command"
		failed=$((failed + 1))
	fi
done <"$work/lines"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
