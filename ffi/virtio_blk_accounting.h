#ifndef MOLT_VIRTIO_BLK_ACCOUNTING_H
#define MOLT_VIRTIO_BLK_ACCOUNTING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* What a disk has done and what failed, for TypeScript to read. Any thread. */

/* QEMU's classes of operations. */
enum molt_disk_operation {
	MOLT_DISK_READ = 0,
	MOLT_DISK_WRITE = 1,
	MOLT_DISK_FLUSH = 2,
	MOLT_DISK_UNMAP = 3,
};

/* What happens when a request fails. */
enum molt_disk_error_action {
	MOLT_DISK_REPORT = 0,
	MOLT_DISK_IGNORE = 1,
	MOLT_DISK_ENOSPC = 2, /* a policy only: stop if there is no space, otherwise report */
	MOLT_DISK_STOP = 3,
};

/* By operation. */
struct molt_disk_statistics {
	_Atomic uint64_t bytes[4];
	_Atomic uint64_t operations[4];
	_Atomic uint64_t failed[4];
	_Atomic uint64_t invalid[4];
	_Atomic uint64_t time[4]; /* ns */
};

/* A failed request, as TypeScript hears of it. */
struct molt_disk_error {
	uint32_t operation; /* enum molt_disk_operation */
	uint32_t action; /* MOLT_DISK_REPORT, MOLT_DISK_IGNORE or MOLT_DISK_STOP */
	int32_t error; /* errno */
	uint32_t reserved;
};

#define MOLT_DISK_ERRORS_KEPT 16

struct molt_disk_accounting {
	struct molt_disk_statistics statistics;
	pthread_mutex_t lock; /* of the errors */
	uint32_t error_count;
	struct molt_disk_error errors[MOLT_DISK_ERRORS_KEPT];
};

/* Counts a request: `outcome` is a status of virtio-blk or -errno, `time` what it took in ns. */
void molt_disk_account(struct molt_disk_accounting *accounting, enum molt_disk_operation operation,
		       uint64_t bytes, int outcome, uint64_t time);

/* Notes an error. More than fit are forgotten. */
void molt_disk_note_error(struct molt_disk_accounting *accounting,
			  enum molt_disk_operation operation, enum molt_disk_error_action action,
			  int error);

/* Takes the errors noted since the last call. Returns how many: at most MOLT_DISK_ERRORS_KEPT. */
uint32_t molt_disk_take_errors(struct molt_disk_accounting *accounting,
			       struct molt_disk_error *errors);

#endif
