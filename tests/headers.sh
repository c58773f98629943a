#!/bin/sh
# Each header compiles alone, and twice.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
build=build/${GPUPOOL_BUILD:-release}
flags=$(pkg-config --cflags libpq json-c libcurl libsodium)

for header in include/*/*.h; do
	name=${header#include/}
	# shellcheck disable=SC2086
	if printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
		"${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Wno-unused-parameter -Werror \
			-Iinclude -I"$build" -include base/banned.h $flags -x c -; then
		passed=$((passed + 1))
	else
		echo "$header does not compile alone"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
