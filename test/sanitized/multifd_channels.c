/*
 * Pages go from one memory to another on several multifd channels at once, by the library's own threads, in
 * each compression; then receivers that wait are cancelled.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../ffi/channel.h"
#include "../../ffi/compression.h"
#include "../../ffi/pages.h"
#include "../../ffi/ram_load.h"
#include "support/entry_points.h"
#include "support/pool.h"
#include "support/program.h"

#define CHANNELS 8
#define PAGES 2048
#define SHARE (PAGES / CHANNELS)
#define NAME "ram"

/* Tokens of calls: a channel's sender, its synchronisation, its receiver. */
enum { SEND = 0, SYNC = CHANNELS, RECEIVE = 2 * CHANNELS };

static uint8_t *source, *destination;
static uint64_t selected[PAGES / 64], written[PAGES / 64];
static struct molt_channel sending[CHANNELS], receiving[CHANNELS];
static uint64_t senders[CHANNELS], receivers[CHANNELS];
static uint64_t counts[CHANNELS][2];
static uint64_t packets;
static uint8_t name[256] = NAME;
static struct molt_ram_target target = { .length = PAGES * MOLT_PAGE_SIZE,
					 .name = { sizeof NAME - 1, 'r', 'a', 'm' } };

/* The channel's end that has this handle. */
static struct molt_multifd *at(uint64_t handle)
{
	return (struct molt_multifd *)(uintptr_t)handle;
}

static void open_channels(uint32_t compression)
{
	for (uint32_t i = 0; i < CHANNELS; i++) {
		int ends[2];
		int64_t sender = molt_multifd_create(compression, 1);
		int64_t receiver = molt_multifd_create(compression, -1);

		check(sender > 0 && receiver > 0, "compression %u: %ld, %ld", compression,
		      (long)sender, (long)receiver);
		check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0,
		      "socketpair: %s", strerror(errno));
		senders[i] = (uint64_t)sender;
		receivers[i] = (uint64_t)receiver;
		sending[i] = (struct molt_channel){ ends[0], eventfd(0, EFD_CLOEXEC), -1 };
		receiving[i] = (struct molt_channel){ ends[1], eventfd(0, EFD_CLOEXEC), -1 };
	}
}

static void close_channels(void)
{
	for (uint32_t i = 0; i < CHANNELS; i++) {
		molt_multifd_destroy(at(senders[i]));
		molt_multifd_destroy(at(receivers[i]));
		close(sending[i].fd);
		close(sending[i].cancel);
		close(receiving[i].fd);
		close(receiving[i].cancel);
	}
}

static void receive(uint32_t i)
{
	pool_call("molt_multifd_receive", RECEIVE + i, receivers[i], pool_address(&receiving[i]),
		  pool_address(&target), 1);
}

/* Half of the pages change, a quarter of those to zero; all of the changed ones are sent. */
static void change_memory(void)
{
	memset(selected, 0, sizeof selected);
	for (uint64_t page = 0; page < PAGES; page++) {
		uint8_t *content = source + page * MOLT_PAGE_SIZE;

		if (random_below(2) == 0)
			continue;
		molt_set_bit(selected, page);
		if (random_below(4) == 0)
			memset(content, 0, MOLT_PAGE_SIZE);
		else
			for (uint32_t i = 0; i < 64; i++)
				content[random_below(MOLT_PAGE_SIZE)] = (uint8_t)random_below(256);
	}
}

/* Sends what changed, all channels at once, and a synchronisation behind it on each. */
static void transfer(void)
{
	for (uint32_t i = 0; i < CHANNELS; i++) {
		receive(i);
		pool_call("molt_multifd_send", SEND + i, senders[i], pool_address(&sending[i]),
			  pool_address(source), pool_address(selected), 0, i * SHARE,
			  (i + 1) * SHARE, 1, pool_address(name), pool_address(&packets),
			  pool_address(counts[i]));
	}
	for (uint32_t left = 3 * CHANNELS; left > 0; left--) {
		struct molt_completion completion = pool_await();
		uint32_t i = (uint32_t)completion.token % CHANNELS;

		if (completion.token < SYNC) {
			check(completion.result >= 0, "sent: %ld", (long)completion.result);
			pool_call("molt_multifd_send_sync", SYNC + i, senders[i],
				  pool_address(&sending[i]), pool_address(&packets));
		} else if (completion.token < RECEIVE) {
			check(completion.result > 0, "synchronised: %ld", (long)completion.result);
		} else {
			check(completion.result == 1, "received: %ld: %s", (long)completion.result,
			      (const char *)(uintptr_t)molt_multifd_error(at(receivers[i])));
		}
	}
	check(memcmp(source, destination, PAGES * MOLT_PAGE_SIZE) == 0, "the memories differ");
}

/* Receivers for which nothing comes end when they are cancelled. */
static void cancel(void)
{
	for (uint32_t i = 0; i < CHANNELS; i++)
		receive(i);
	dither();
	for (uint32_t i = 0; i < CHANNELS; i++)
		eventfd_write(receiving[i].cancel, 1);
	for (uint32_t i = 0; i < CHANNELS; i++)
		check(pool_await().result == -ECANCELED, "a receiver was not cancelled");
}

static uint8_t *map_memory(void)
{
	uint8_t *memory = mmap(NULL, PAGES * MOLT_PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(memory != MAP_FAILED, "mmap: %s", strerror(errno));
	return memory;
}

int main(int argc, char **argv)
{
	uint32_t count = rounds(argc, argv, 10);

	source = map_memory();
	destination = map_memory();
	target.memory = pool_address(destination);
	target.written = pool_address(written);
	for (uint32_t compression = MOLT_COMPRESSION_NONE; compression <= MOLT_COMPRESSION_ZSTD;
	     compression++) {
		set_limit(120, "a transfer");
		open_channels(compression);
		for (uint32_t round = 0; round < count; round++) {
			change_memory();
			transfer();
		}
		cancel();
		close_channels();
	}
	printf("multifd_channels: %u rounds in each compression, %lu packets\n", count,
	       (unsigned long)packets);
	return 0;
}
