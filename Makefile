# gpupool: `make run` gives a whole private installation, `make check` runs all tests.
# One makefile for everything; a new file under src/ or tests/ needs no line here.

BUILD  ?= release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
O := build/$(BUILD)

# ---- toolchain ------------------------------------------------------------
PKGS     := libpq json-c libcurl libsodium fcgi libwebsockets libssl libcrypto
CC       ?= cc
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
            -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wpointer-arith -Wimplicit-fallthrough \
            -Wswitch -Wno-unused-parameter -Wno-missing-field-initializers $(if $(WERROR),-Werror)
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
BASE     := -std=gnu17 -D_GNU_SOURCE -fno-common -fvisibility=hidden -g -pthread

FLAGS_release := -O2 -D_FORTIFY_SOURCE=2 $(HARDEN)
LD_release    := $(LDHARDEN)
FLAGS_debug   := -O0 -DGPUPOOL_TEST $(HARDEN)
LD_debug      := $(LDHARDEN)
# (gcc takes instrumented code for uninitialised uses.)
FLAGS_asan    := -O1 -DGPUPOOL_TEST -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
                 $(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized)
LD_asan       := -fsanitize=address,undefined
FLAGS_fuzz    := -O1 -DGPUPOOL_TEST -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
LD_fuzz       := -fsanitize=address,undefined

CFLAGS_ALL  = $(BASE) $(FLAGS_$(BUILD)) $(WARN) -Iinclude -I$(O) -include base/banned.h \
              $(shell pkg-config --cflags $(PKGS)) $(CPPFLAGS) $(CFLAGS)
LDFLAGS_ALL = $(LD_$(BUILD)) -pthread $(LDFLAGS)
LIBS        = $(shell pkg-config --libs $(PKGS)) -lm

# `make V=1` shows whole command lines.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1) $(patsubst $(O)/%,%,$@)")

# ---- what is built --------------------------------------------------------
LAYERS   := base db domain provider control web cli
LIB_SRC  := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c))
BIN_SRC  := $(wildcard src/bin/*.c)
PROGRAMS := $(BIN_SRC:src/bin/%.c=$(O)/%)
GEN_C    := $(O)/gen/stmt_table.c $(O)/gen/assets.c
LIB_OBJ  := $(LIB_SRC:src/%.c=$(O)/%.o) $(GEN_C:.c=.o)
LIBRARY  := $(O)/libgpupool.a

QUERIES  := $(sort $(wildcard sql/queries/*.sql))
# Embedded files, named by their path below the first of these roots that fits.
ASSETS   := $(sort $(wildcard sql/migrations/*.sql sql/*.sql src/web/templates/*.html src/web/messages/*.txt \
            src/agent/*.py src/examples/*.py src/provider/*.json src/provider/*.js nginx/*.conf static/*.css static/*.js static/*.svg))

CHECK_SRC := $(wildcard tests/unit/*.c tests/db/*.c tests/http/*.c)
CHECK_BIN := $(CHECK_SRC:tests/%.c=$(O)/tests/%)
TESTLIB   := $(patsubst tests/%.c,$(O)/tests/%.o,$(wildcard tests/lib/*.c))
BENCH_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/bench/*.c))
SIM_OBJ   := $(patsubst tests/%.c,$(O)/tests/%.o,$(wildcard tests/sim/*.c))
SIM_BIN   := $(O)/tests/sim/sim
FUZZ_BIN  := $(patsubst tests/%.c,build/fuzz/tests/%,$(wildcard tests/fuzz/*.c))

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:

all: $(LIBRARY) $(PROGRAMS)

# ---- generated code -------------------------------------------------------
$(O)/gen/sqlgen $(O)/gen/embed: $(O)/gen/%: src/gen/%.c
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O1 -g $(WARN) -o $@ $<

$(O)/gen/stmt.h $(O)/gen/stmt_table.c &: $(O)/gen/sqlgen $(QUERIES)
	$(call say,GEN)
	$(Q)$(O)/gen/sqlgen $(O)/gen/stmt.h $(O)/gen/stmt_table.c $(QUERIES)

$(O)/gen/assets.c: $(O)/gen/embed $(ASSETS)
	$(call say,GEN)
	$(Q)$(O)/gen/embed $@ $(ASSETS)

# ---- objects and programs -------------------------------------------------
$(O)/%.o: src/%.c | $(O)/gen/stmt.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(O)/gen/%.o: $(O)/gen/%.c | $(O)/gen/stmt.h
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(LIBRARY): $(LIB_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(PROGRAMS): $(O)/%: $(O)/bin/%.o $(LIBRARY)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(LIBRARY) $(LIBS)

# ---- tests ----------------------------------------------------------------
$(O)/tests/%.o: tests/%.c | $(O)/gen/stmt.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests/lib $(shell pkg-config --cflags check) -MMD -MP -c -o $@ $<

$(CHECK_BIN) $(BENCH_BIN): $(O)/tests/%: $(O)/tests/%.o $(TESTLIB) $(LIBRARY)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(TESTLIB) $(LIBRARY) $(shell pkg-config --libs check) $(LIBS)

$(SIM_BIN): $(SIM_OBJ) $(TESTLIB) $(LIBRARY)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(shell pkg-config --libs check) $(LIBS)

$(FUZZ_BIN): build/fuzz/tests/%: build/fuzz/tests/%.o $(LIBRARY)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(LIBRARY) $(LIBS)

check-bin: $(CHECK_BIN) $(SIM_BIN)
bench-bin: $(BENCH_BIN) $(SIM_BIN)
fuzz-bin: $(FUZZ_BIN)

-include $(wildcard $(O)/*/*.d $(O)/*/*/*.d)

# ---- the commands that people type ----------------------------------------
# Each first installs the Debian packages it lacks, so it calls make again for
# the rest: what pkg-config says is known only then.
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
AGAIN   = +$(Q)$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(1)
PYTHON := /usr/bin/python3

run:
	@sh src/gen/packages.sh run
	$(call AGAIN,$(BUILD)) all
	@exec $(O)/gpupool dev

check:
	@sh src/gen/packages.sh check
	$(call AGAIN,release) WERROR=1 all check-bin
	$(call AGAIN,asan) WERROR=1 all check-bin
	$(call AGAIN,fuzz) WERROR=1 CC=clang fuzz-bin
	@exec $(PYTHON) tests/run.py $(CHECK)

check-quick:
	$(call AGAIN,release) all check-bin
	@exec $(PYTHON) tests/run.py --quick

asan:
	@sh src/gen/packages.sh check
	$(call AGAIN,asan) all check-bin
	@exec $(PYTHON) tests/run.py --only asan-unit,asan-db,asan-http,asan-e2e

fuzz:
	@sh src/gen/packages.sh check
	$(call AGAIN,fuzz) CC=clang fuzz-bin
	@FUZZ_SECONDS=$(or $(SECONDS),600) exec $(PYTHON) tests/run.py --only fuzz

bench:
	@sh src/gen/packages.sh bench
	$(call AGAIN,release) all bench-bin
	@exec $(PYTHON) tests/bench/run.py

check-fresh:
	@sh src/gen/packages.sh fresh
	@CHECK="$(CHECK)" FRESH="$(FRESH)" exec sh tests/fresh.sh

# ---- installation ---------------------------------------------------------
# The services' settings are SYSCONFDIR/gpupool/*.env, which install leaves alone.
BINDIR  = $(DESTDIR)$(PREFIX)/bin
DATADIR = $(DESTDIR)$(PREFIX)/share/gpupool
DOCDIR  = $(DESTDIR)$(PREFIX)/share/doc/gpupool
LIBDIR  = $(DESTDIR)$(PREFIX)/lib
ETCDIR  = $(DESTDIR)$(SYSCONFDIR)/gpupool
BASHDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
UNITS  := $(notdir $(wildcard nginx/systemd/*.service))

install: all
	install -d $(BINDIR) $(DATADIR) $(DOCDIR) $(ETCDIR) $(BASHDIR) $(addprefix $(LIBDIR)/,systemd/system sysusers.d tmpfiles.d)
	install -m 755 $(PROGRAMS) $(BINDIR)
	cp -R static sql $(DATADIR)
	install -m 644 README.md LICENSE $(DOCDIR)
	$(O)/gpupool nginx-conf --static=$(PREFIX)/share/gpupool/static --routes=$(SYSCONFDIR)/gpupool/routes.conf > $(ETCDIR)/nginx.conf
	$(O)/gpupool-web --print-nginx > $(ETCDIR)/routes.conf
	$(O)/gpupool completion bash > $(BASHDIR)/gpupool
	for unit in $(UNITS); do \
	    sed 's,@PREFIX@,$(PREFIX),g; s,@SYSCONFDIR@,$(SYSCONFDIR),g' nginx/systemd/$$unit > $(LIBDIR)/systemd/system/$$unit || exit 1; done
	install -m 644 nginx/systemd/gpupool.sysusers $(LIBDIR)/sysusers.d/gpupool.conf
	install -m 644 nginx/systemd/gpupool.tmpfiles $(LIBDIR)/tmpfiles.d/gpupool.conf

uninstall:
	rm -f $(addprefix $(BINDIR)/,$(notdir $(PROGRAMS))) $(BASHDIR)/gpupool $(addprefix $(LIBDIR)/systemd/system/,$(UNITS)) \
	    $(LIBDIR)/sysusers.d/gpupool.conf $(LIBDIR)/tmpfiles.d/gpupool.conf $(ETCDIR)/nginx.conf $(ETCDIR)/routes.conf
	rm -rf $(DATADIR) $(DOCDIR)

dist:
	@mkdir -p build
	git archive --format=tar.gz --prefix=gpupool/ -o build/gpupool.tar.gz HEAD

clean:
	rm -rf build

help:
	@echo "make run          build and run a whole private installation (GPUPOOL_PORT, GPUPOOL_STATE)"
	@echo "make check        every test; CHECK='--only e2e' for some of them"
	@echo "make check-quick  the tests without PostgreSQL"
	@echo "make asan | fuzz  tests under AddressSanitizer and UBSan; fuzzers for SECONDS=600 each"
	@echo "make bench        figures, beside a peer"
	@echo "make check-fresh  both commands in a bare Debian, as root and as a user"
	@echo "make install      to PREFIX (/usr/local), SYSCONFDIR (/etc), below DESTDIR; uninstall"
	@echo "make all dist clean      BUILD=release|debug|asan|fuzz, V=1, WERROR=1, CC=clang"

.PHONY: all run check check-quick check-bin bench bench-bin asan fuzz fuzz-bin check-fresh install uninstall dist clean help
