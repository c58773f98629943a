/*
 * openapi - the OpenAPI 3.1 document, made from the route table and its field
 * tables: the same rows that validate.
 */
#ifndef WEB_OPENAPI_H
#define WEB_OPENAPI_H

#include "web/routes.h"

/* JSON Schema of a table; the caller's. */
struct json *openapi_schema(const struct field *fields, bool lenient);
/* All routes that are not ROUTE_HIDDEN; the caller's. */
struct json *openapi_document(const char *server_url);

#endif
