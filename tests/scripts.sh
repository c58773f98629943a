#!/bin/sh
# Scripts: shellcheck for shell, a parse as Python 3.8 for what users' machines run.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0

try() {
	if "$@"; then passed=$((passed + 1)); else
		echo "failed: $*"
		failed=$((failed + 1))
	fi
}

if command -v shellcheck >/dev/null 2>&1; then
	for script in tests/*.sh src/*/*.sh .ci/run; do
		[ -e "$script" ] && try shellcheck "$script"
	done
fi
for script in src/agent/*.py src/examples/*.py; do
	[ -e "$script" ] && try /usr/bin/python3 -c '
import ast, sys
ast.parse(open(sys.argv[1]).read(), sys.argv[1], feature_version=(3, 8))' "$script"
done
for script in tests/*.py tests/*/*.py; do
	[ -e "$script" ] && try /usr/bin/python3 -c '
import ast, sys
ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$script"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
