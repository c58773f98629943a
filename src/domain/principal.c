/* principal - roles and scopes.  See domain/principal.h. */
#include "domain/principal.h"

#include <string.h>

static const char *const role_names[] = {
	[ROLE_NONE] = "",
	[ROLE_VIEWER] = "viewer",
	[ROLE_OPERATOR] = "operator",
	[ROLE_ADMIN] = "admin",
};

static const struct {
	const char *name;
	enum scope bit;
	unsigned holds;
} scopes[] = {
	{"read", SCOPE_READ, SCOPE_READ},
	{"submit", SCOPE_SUBMIT, SCOPE_SUBMIT | SCOPE_READ | SCOPE_INFERENCE},
	{"manage", SCOPE_MANAGE, SCOPE_MANAGE | SCOPE_SUBMIT | SCOPE_READ | SCOPE_INFERENCE},
	{"admin", SCOPE_ADMIN, SCOPE_ALL},
	{"inference", SCOPE_INFERENCE, SCOPE_INFERENCE},
};

const char *role_name(enum role r)
{
	return role_names[r];
}

enum role role_parse(struct str name)
{
	for (size_t i = ROLE_VIEWER; i < ARRAY_LEN(role_names); i++)
		if (str_eqz(name, role_names[i]))
			return (enum role)i;
	return ROLE_NONE;
}

unsigned scope_parse(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		if (str_eqz(name, scopes[i].name))
			return scopes[i].holds;
	return 0;
}

const char *scope_name(enum scope one)
{
	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		if (scopes[i].bit == one)
			return scopes[i].name;
	return "";
}

unsigned role_scopes(enum role r)
{
	switch (r) {
	case ROLE_NONE: return 0;
	case ROLE_VIEWER: return SCOPE_READ;
	case ROLE_OPERATOR: return SCOPE_ALL & ~(unsigned)SCOPE_ADMIN;
	case ROLE_ADMIN: return SCOPE_ALL;
	}
	return 0;
}

struct principal principal_system(void)
{
	return (struct principal){.role = ROLE_ADMIN, .scopes = SCOPE_ALL, .name = "system", .locale = "en"};
}
