/*
 * accelerator - from what a driver calls a GPU to the names a job may ask for.
 */
#ifndef DOMAIN_ACCELERATOR_H
#define DOMAIN_ACCELERATOR_H

#include "base/str.h"

/*
 * Appends to the comma list the names of one GPU that are not in it yet:
 * "Tesla T4" gives T4, TeslaT4 and NvidiaTeslaT4; "NVIDIA GeForce RTX 4090"
 * gives RTX4090, NVIDIAGeForceRTX4090, NvidiaGeForceRTX4090.  Characters that
 * no name has are dropped.
 */
void accelerator_names(struct str gpu, struct buf *list);

#endif
