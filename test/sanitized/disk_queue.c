/*
 * Two drivers read and write a disk of two queues while it is stopped and started, its cache switched, its
 * statistics read, and the pages that it writes recorded for a migration. Everything comes back as it was
 * written, and every page that the disk wrote is in the record.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/entry_points.h"
#include "support/rings.h"
#include "support/program.h"

#define MEMORY (1 << 20)
#define PAGES (MEMORY / 4096)
#define QUEUES 2
/* Each driver has memory of its own: its ring, then headers and status bytes, then data. */
#define SHARE (MEMORY / QUEUES)
#define HEADERS RING_BYTES
#define DATA 16384
#define DATA_LENGTH 8192
#define AT_ONCE 4
/* Each has a part of the disk of its own too. */
#define PART (1 << 20)

static uint8_t *memory;
static struct ring rings[QUEUES];
static struct molt_queue *queues[QUEUES];
static uint64_t disk, memory_handle, interrupt;
static uint32_t count;
static _Atomic uint32_t drivers = QUEUES;
static uint64_t recorded[PAGES / 64], taken[PAGES / 64];

struct request {
	struct virtio_blk_outhdr header;
	uint8_t status;
};

/* One driver's view of its share of the memory. */
struct driver {
	struct ring *ring;
	uint64_t base;
	uint8_t *content; /* of its part of the disk */
	uint64_t part;
	uint16_t heads[AT_ONCE];
};

static uint64_t request_address(const struct driver *driver, uint32_t i)
{
	return driver->base + HEADERS + i * sizeof(struct request);
}

static uint64_t data_address(const struct driver *driver, uint32_t i)
{
	return driver->base + DATA + i * DATA_LENGTH;
}

/* Adds a request of `length` bytes at `offset` of the driver's part. */
static void add(struct driver *driver, uint32_t i, uint32_t type, uint64_t offset, uint32_t length)
{
	struct request *request = (void *)(memory + request_address(driver, i));
	uint64_t address = request_address(driver, i);
	struct ring_buffer buffers[] = {
		{ address, sizeof request->header, false },
		{ data_address(driver, i), length, type == VIRTIO_BLK_T_IN },
		{ address + offsetof(struct request, status), 1, true },
	};

	request->header = (struct virtio_blk_outhdr){
		.type = type, .sector = (driver->part + offset) / 512 };
	request->status = 0xff;
	if (type == VIRTIO_BLK_T_FLUSH)
		buffers[1] = buffers[2];
	driver->heads[i] = ring_add(driver->ring, buffers, type == VIRTIO_BLK_T_FLUSH ? 2 : 3);
}

/* Waits for all of `requests` requests, in whatever order they come. */
static void await_all(struct driver *driver, uint32_t requests)
{
	for (uint32_t i = 0; i < requests; i++)
		ring_await(driver->ring);
	for (uint32_t i = 0; i < requests; i++) {
		const struct request *request = (void *)(memory + request_address(driver, i));

		check(request->status == VIRTIO_BLK_S_OK, "request type %u: status %u",
		      request->header.type, request->status);
	}
}

/* Writes different places, then reads them. */
static void one_round(struct driver *driver)
{
	uint32_t requests = 1 + random_below(AT_ONCE);
	uint32_t length = 512 * (1 + random_below(DATA_LENGTH / 512));
	uint64_t offsets[AT_ONCE];

	for (uint32_t i = 0; i < requests; i++) {
		uint8_t *data = memory + data_address(driver, i);

		offsets[i] = i * (PART / AT_ONCE) +
			     512 * random_below((PART / AT_ONCE - DATA_LENGTH) / 512);
		for (uint32_t byte = 0; byte < length; byte++)
			data[byte] = (uint8_t)random_below(256);
		memcpy(driver->content + offsets[i], data, length);
		add(driver, i, VIRTIO_BLK_T_OUT, offsets[i], length);
	}
	ring_notify(driver->ring);
	await_all(driver, requests);
	if (random_below(4) == 0) {
		add(driver, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
		ring_notify(driver->ring);
		await_all(driver, 1);
	}
	for (uint32_t i = 0; i < requests; i++) {
		memset(memory + data_address(driver, i), 0xee, length);
		add(driver, i, VIRTIO_BLK_T_IN, offsets[i], length);
		ring_notify(driver->ring);
	}
	await_all(driver, requests);
	for (uint32_t i = 0; i < requests; i++)
		check(memcmp(memory + data_address(driver, i), driver->content + offsets[i],
			     length) == 0,
		      "%u bytes at %lu are not what was written", length, (long)offsets[i]);
}

static void *drive(void *argument)
{
	struct ring *ring = argument;
	static uint8_t contents[QUEUES][PART];
	uint64_t index = (uint64_t)(ring - rings);
	struct driver driver = { .ring = ring, .base = index * SHARE, .content = contents[index],
				 .part = index * PART };

	for (uint32_t round = 0; round < count; round++)
		one_round(&driver);
	atomic_fetch_sub(&drivers, 1);
	return NULL;
}

static void start(uint32_t index, uint32_t position)
{
	struct molt_queue_setup setup = ring_setup(&rings[index], position);

	check(molt_queue_start(queues[index], &setup) == 0, "queue %u: fault %u", index,
	      molt_queue_fault(queues[index]));
	molt_disk_start(disk, index);
}

/* Half of the stops wait, the others look whether the queue is still at work. */
static int64_t stop_deadline(void)
{
	static uint32_t stops;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec + stops++ % 2) * 1000000000L + now.tv_nsec;
}

static uint32_t stop(uint32_t index)
{
	/* A file's requests end at once; those of a round that has no time to wait are met again. */
	while (molt_disk_stop(disk, index, stop_deadline()) != 0)
		sched_yield();
	check(molt_queue_fault(queues[index]) == 0, "queue %u: fault %u", index,
	      molt_queue_fault(queues[index]));

	uint32_t position = molt_queue_last_available(queues[index]);

	molt_queue_stop(queues[index]);
	return position;
}

/* What the machine's thread does to a disk. */
static void disturb(void)
{
	uint64_t statistics[20];
	struct molt_disk_error errors[MOLT_DISK_ERRORS_KEPT];
	uint32_t index = random_below(QUEUES);

	switch (random_below(6)) {
	case 0:
		molt_disk_read_statistics(disk, statistics);
		break;
	case 1:
		check(molt_disk_errors(disk, errors) == 0, "a request failed: %d", errors[0].error);
		break;
	case 2:
		molt_disk_set_write_cache(disk, random_below(2));
		break;
	case 3:
		molt_memory_record(memory_handle, 0, (uint64_t)(uintptr_t)recorded, 0);
		break;
	case 4:
		molt_bitmap_take(recorded, taken, 0, PAGES);
		break;
	default: {
		uint32_t position = stop(index);

		dither();
		start(index, position);
	}
	}
	dither();
}

/* Every page of a driver's data was written by reads, so all of them are in the record. */
static void check_record(void)
{
	molt_bitmap_take(recorded, taken, 0, PAGES);
	for (uint32_t index = 0; index < QUEUES; index++) {
		uint64_t page = (index * SHARE + DATA) / 4096;

		check(taken[page / 64] >> (page % 64) & 1, "page %lu is not recorded", (long)page);
	}
}

int main(int argc, char **argv)
{
	const struct molt_memory_region *region;
	int image = memfd_create("disk", MFD_CLOEXEC);
	int attention = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int32_t kicks[QUEUES];
	pthread_t threads[QUEUES];

	count = rounds(argc, argv, 1000);
	set_limit(120, "a request of a disk");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(image >= 0 && attention >= 0 && memory != MAP_FAILED &&
	      ftruncate(image, QUEUES * PART) == 0, "no disk: %s", strerror(errno));
	region = &(struct molt_memory_region){ 0, MEMORY, (uint64_t)(uintptr_t)memory };
	memory_handle = (uint64_t)molt_memory_create(region, 1);
	interrupt = (uint64_t)molt_interrupt_create(-1, -1, -1, 0);
	for (uint32_t i = 0; i < QUEUES; i++) {
		ring_init(&rings[i], memory, i * SHARE, i % 2 != 0, true);
		queues[i] = queue_of(memory_handle, interrupt);
		kicks[i] = rings[i].kick;
	}

	struct molt_disk_setup setup = {
		.image = { .fd = image, .size = QUEUES * PART, .alignment = 1 }, .sector = 512 };

	disk = (uint64_t)molt_disk_create(memory_handle, &setup, (const uint64_t *)queues, kicks,
					  QUEUES, attention);
	for (uint32_t i = 0; i < QUEUES; i++)
		start(i, 0);
	for (uint32_t i = 0; i < QUEUES; i++)
		pthread_create(&threads[i], NULL, drive, &rings[i]);
	while (atomic_load(&drivers) > 0)
		disturb();
	for (uint32_t i = 0; i < QUEUES; i++)
		pthread_join(threads[i], NULL);

	molt_memory_record(memory_handle, 0, (uint64_t)(uintptr_t)recorded, 0);
	atomic_store(&drivers, QUEUES);
	count = 1;
	for (uint32_t i = 0; i < QUEUES; i++)
		drive(&rings[i]);
	check_record();

	for (uint32_t i = 0; i < QUEUES; i++)
		stop(i);
	molt_disk_destroy(disk);
	for (uint32_t i = 0; i < QUEUES; i++) {
		molt_queue_destroy(queues[i]);
		close(rings[i].kick);
	}
	molt_memory_record(memory_handle, 0, 0, 0);
	molt_memory_destroy(memory_handle);
	molt_interrupt_destroy(interrupt);
	printf("disk_queue: %s\n", "clean");
	return 0;
}
