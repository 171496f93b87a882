#ifndef MOLT_IMAGE_FORMAT_H
#define MOLT_IMAGE_FORMAT_H

#include <stdint.h>

/* Bytes at the beginning of an image by which its format is known. */
#define MOLT_IMAGE_PROBE_SIZE 512

/* The name of the format that `start`, `length` bytes, is the beginning of; NULL if nothing speaks against raw. */
const char *molt_probe_format(const uint8_t *start, uint64_t length);

#endif
