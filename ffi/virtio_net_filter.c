/* Receive filtering of virtio-net (see virtio_net_filter.h). */
#include "molt.h"

#include <string.h>

#include "virtio_net_filter.h"

#define ADDRESS_LENGTH MOLT_NET_ADDRESS_LENGTH
#define ETHERNET_HEADER 14

static bool matches(const struct molt_net_filter *filter, const uint8_t *address, uint32_t first,
		    uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		if (memcmp(filter->table[i], address, ADDRESS_LENGTH) == 0)
			return true;
	}
	return false;
}

bool molt_net_filter_passes(const struct molt_net_filter *filter, const uint8_t *frame,
			    uint32_t length)
{
	static const uint8_t broadcast[ADDRESS_LENGTH] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (length < ETHERNET_HEADER)
		return false;
	if (filter->promiscuous)
		return true;
	if (frame[12] == 0x81 && frame[13] == 0x00 && length >= ETHERNET_HEADER + 4) {
		uint32_t vlan = (uint32_t)(frame[14] << 8 | frame[15]) & 0xfff;

		if (!(filter->vlans[vlan / 8] & 1 << vlan % 8))
			return false;
	}
	if (memcmp(frame, broadcast, ADDRESS_LENGTH) == 0)
		return !filter->no_broadcast;
	if (frame[0] & 1)
		return !filter->no_multicast &&
		       (filter->all_multicast ||
			matches(filter, frame, filter->unicast, filter->entries));
	return !filter->no_unicast &&
	       (filter->all_unicast || memcmp(frame, filter->address, ADDRESS_LENGTH) == 0 ||
		matches(filter, frame, 0, filter->unicast));
}
