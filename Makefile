# gpupool: `make run` gives a whole private installation, `make check` runs all tests.
# One makefile for everything; a new file under src/ or tests/ needs no line here.

BUILD  ?= release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
O := build/$(BUILD)

# ---- toolchain ------------------------------------------------------------
PKGS     := libpq json-c libcurl libsodium fcgi
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
FLAGS_asan    := -O1 -DGPUPOOL_TEST -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
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
            src/agent/*.py src/examples/*.py nginx/*.conf static/*.css static/*.js static/*.svg))

CHECK_SRC := $(wildcard tests/unit/*.c tests/db/*.c tests/http/*.c)
CHECK_BIN := $(CHECK_SRC:tests/%.c=$(O)/tests/%)
TESTLIB   := $(patsubst tests/%.c,$(O)/tests/%.o,$(wildcard tests/lib/*.c))
BENCH_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/bench/*.c))
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

check-bin: $(CHECK_BIN)

-include $(wildcard $(O)/*/*.d $(O)/*/*/*.d)

clean:
	rm -rf build

.PHONY: all check-bin clean
