/* version - of this program, for --version, /metrics and links to static files. */
#ifndef WEB_VERSION_H
#define WEB_VERSION_H

#define GPUPOOL_VERSION "0.1.0"

#endif
