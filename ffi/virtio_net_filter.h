#ifndef MOLT_VIRTIO_NET_FILTER_H
#define MOLT_VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Receive filtering of virtio-net (Virtual I/O Device specification 1.2, chapter 5.1.6.5.1): which
 * frames the driver wants.
 */

#define MOLT_NET_ADDRESS_LENGTH 6
#define MOLT_NET_FILTER_ENTRIES 64

/* What the driver said; TypeScript fills it from the control queue. */
struct molt_net_filter {
	uint8_t address[MOLT_NET_ADDRESS_LENGTH];
	uint8_t promiscuous;
	uint8_t all_multicast;
	uint8_t all_unicast;
	uint8_t no_multicast;
	uint8_t no_unicast;
	uint8_t no_broadcast;
	uint32_t unicast; /* entries of the table that are unicast; they come first */
	uint32_t entries;
	uint8_t table[MOLT_NET_FILTER_ENTRIES][MOLT_NET_ADDRESS_LENGTH];
	uint8_t vlans[512]; /* bit v % 8 of byte v / 8 */
};
_Static_assert(sizeof(struct molt_net_filter) == 916, "src/native/network.ts lays it out");

/* Whether the driver wants a frame of `length` bytes. What is too short to be one, it does not. */
bool molt_net_filter_passes(const struct molt_net_filter *filter, const uint8_t *frame,
			    uint32_t length);

#endif
