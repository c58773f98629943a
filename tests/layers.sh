#!/bin/sh
# Include direction, and who alone may use which library.  The table of layers
# is the one in README.md: a layer may include itself and what stands behind it.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0

ok() { passed=$((passed + 1)); }
bad() {
	echo "$*"
	failed=$((failed + 1))
}

layers="base db domain provider control web cli bin"
may_include() {
	case $1 in
	base) echo base ;;
	db) echo base db gen ;;
	domain) echo base db domain gen ;;
	provider) echo base provider ;;
	control) echo base db domain provider control gen ;;
	web) echo base db domain web gen ;;
	cli) echo base db domain cli gen ;;
	bin) echo "$layers" gen ;;
	esac
}

for layer in $layers; do
	for file in src/"$layer"/*.c include/"$layer"/*.h; do
		[ -e "$file" ] || continue
		wrong=
		all=$(sed -n 's/^[[:space:]]*#[[:space:]]*include "\([a-z]*\)\/.*/\1/p' "$file" | sort -u)
		for used in $all; do
			case " $(may_include "$layer") " in
			*" $used "*) ;;
			*) wrong="$wrong $used" ;;
			esac
		done
		if [ -n "$wrong" ]; then bad "$file ($layer) includes from:$wrong"; else ok; fi
	done
done

# only PATTERN ALLOWED…: the include may occur in the allowed files and nowhere else
only() {
	pattern=$1
	shift
	found=$(grep -lE "#[[:space:]]*include <($pattern)" src/*/*.c include/*/*.h 2>/dev/null | grep -v '^src/gen/')
	for file in $found; do
		case " $* " in
		*" $file "*) ;;
		*) bad "$file may not include <$pattern>" && return ;;
		esac
	done
	ok
}
only 'fcgiapp\.h|fcgi_stdio\.h|fcgi_config\.h' src/web/fcgi.c
only 'fastcgi\.h' src/web/fcgi.c src/web/fcgi_loop.c
only 'curl/' src/base/http.c
only 'json-c/' src/base/json.c
only 'sodium' src/base/crypto.c
only 'libwebsockets' src/base/websocket.c
only 'openssl/' src/base/rsa.c src/base/websocket.c
pq=$(grep -lE '#[[:space:]]*include <(libpq-fe|postgresql/)' src/*/*.c include/*/*.h 2>/dev/null | grep -vE '^(src|include)/db/')
if [ -n "$pq" ]; then bad "libpq outside db: $pq"; else ok; fi

# no SQL text outside sql/ (the db layer's own session settings aside)
sql=$(grep -nE '"[[:space:]]*(select|insert into|update|delete from|with|alter|create|drop)[[:space:]][a-z_(*]' \
	src/domain/*.c src/control/*.c src/web/*.c src/cli/*.c src/provider/*.c src/bin/*.c 2>/dev/null |
	grep -E '"[[:space:]]*(select .* from|insert into|update [a-z_.]+ set|delete from|with [a-z_]+ as|(alter|create|drop) (table|role|user|database|schema|index) )')
if [ -n "$sql" ]; then bad "SQL outside sql/: $sql"; else ok; fi

# the events role has no libfcgi in it
for object in build/"${GPUPOOL_BUILD:-release}"/web/fcgi_loop.o build/"${GPUPOOL_BUILD:-release}"/web/events*.o; do
	[ -e "$object" ] || continue
	if nm -u "$object" | grep -q FCGX_; then bad "$object uses libfcgi"; else ok; fi
done

# every source has its header's layer, and no file grew past reason
for file in src/*/*.c; do
	lines=$(wc -l <"$file")
	if [ "$lines" -gt 700 ]; then bad "$file has $lines lines"; fi
done
ok

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
